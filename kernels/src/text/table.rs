//! Signals as tables: a name, a type and a definition per line make the struct, the names and the columns.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, UInt64Array};

/// A type that a signal may have.
pub trait Column: Sized {
    fn column(values: impl Iterator<Item = Option<Self>>) -> ArrayRef;
}

macro_rules! column {
    ($type:ty, $array:ty) => {
        impl Column for $type {
            fn column(values: impl Iterator<Item = Option<Self>>) -> ArrayRef {
                Arc::new(values.collect::<$array>())
            }
        }
    };
}

column!(i64, Int64Array);
column!(u64, UInt64Array);
column!(f64, Float64Array);
column!(bool, BooleanArray);
column!(&'static str, StringArray);

/// Defines a struct of signals with `DEFINITIONS` (name and definition of each, in column order) and
/// `columns` (one column per signal; null where a row is none).
macro_rules! signal_table {
    ($(#[$about:meta])* pub struct $table:ident { $($name:ident: $type:ty = $definition:literal;)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $table { $(#[doc = $definition] pub $name: $type,)* }

        impl $table {
            pub const DEFINITIONS: &[(&str, &str)] = &[$((stringify!($name), $definition),)*];

            pub fn columns(rows: &[Option<$table>]) -> Vec<(&'static str, arrow_array::ArrayRef)> {
                vec![$((
                    stringify!($name),
                    <$type as $crate::text::table::Column>::column(
                        rows.iter().map(|row| row.as_ref().map(|row| row.$name)),
                    ),
                ),)*]
            }
        }
    };
}

pub(crate) use signal_table;
