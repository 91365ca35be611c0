//! XXH3-64 of token blocks with AVX2 where the processor has it, and the copy of a block in the same pass.
//!
//! A wheel is built for the oldest x86-64, where a hash chosen at compile time runs on SSE2. Long inputs take
//! the loop below (Collet, "XXH3", the published algorithm; same digests): it prefetches across pages, which
//! the hardware does not, and can store what it hashes, around the caches for batches larger than them. On
//! random blocks of 16 KiB in memory, hash and copy together then cost what the copy alone would.

use xxhash_rust::xxh3::Xxh3Builder;

/// Where a copy goes to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// Into the caches.
    Cached,
    /// Around them: for more than they hold.
    Streamed,
}

/// XXH3-64 of `data`.
pub fn xxh3_64(data: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if avx2::takes(data) && std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, and the length is one that the loop takes.
        return unsafe {
            avx2::digest::<{ avx2::NONE }>(data, std::ptr::null_mut(), std::ptr::null())
        };
    }
    xxhash_rust::xxh3::xxh3_64(data)
}

/// Copy `data` to `out`, of the same size, and give its XXH3-64.
///
/// `next` is what will be read after it: its first lines are asked for meanwhile (unless null).
pub fn copied_xxh3_64(data: &[u8], out: &mut [u8], store: Store, next: *const u8) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if avx2::takes(data)
        && data.len() == out.len()
        && out.as_ptr().addr().is_multiple_of(32)
        && std::arch::is_x86_feature_detected!("avx2")
    {
        // SAFETY: the processor has AVX2, the length is one that the loop takes, and `out` is as long and
        // aligned to the vectors that are stored.
        return unsafe {
            match store {
                Store::Cached => avx2::digest::<{ avx2::CACHED }>(data, out.as_mut_ptr(), next),
                Store::Streamed => avx2::digest::<{ avx2::STREAMED }>(data, out.as_mut_ptr(), next),
            }
        };
    }
    let _ = (store, next);
    out.copy_from_slice(data);
    xxhash_rust::xxh3::xxh3_64(data)
}

/// Make streamed copies visible: comes before another thread may look at them.
pub fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has the instruction.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

/// Ask for the cache lines of `bytes`.
pub fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes.chunks(64) {
        // SAFETY: a prefetch reads nothing; every x86-64 processor has the instruction.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

/// XXH3-64 of parts, as of their concatenation, under a seed.
pub fn xxh3_64_of_parts(parts: &[&[u8]], seed: u64) -> u64 {
    let mut state = Xxh3Builder::new().with_seed(seed).build();
    for part in parts {
        state.update(part);
    }
    state.digest()
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    pub const NONE: u8 = 0;
    pub const CACHED: u8 = 1;
    pub const STREAMED: u8 = 2;

    const STRIPE: usize = 64;
    /// Stripes between two scrambles.
    const STRIPES: usize = 16;
    /// How far ahead of the loop memory is asked for: half a microsecond, a few times its latency.
    const AHEAD: usize = 8192;
    const PRIME32: [u64; 3] = [0x9e37_79b1, 0x85eb_ca77, 0xc2b2_ae3d];
    const PRIME64: [u64; 5] = [
        0x9e37_79b1_85eb_ca87,
        0xc2b2_ae3d_27d4_eb4f,
        0x1656_67b1_9e37_79f9,
        0x85eb_ca77_c2b2_ae63,
        0x27d4_eb2f_1656_67c5,
    ];
    /// The algorithm's default secret.
    const SECRET: [u8; 192] = [
        0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad,
        0x1c, 0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3,
        0x67, 0x1f, 0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc,
        0xff, 0x72, 0x21, 0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6,
        0x81, 0x3a, 0x26, 0x4c, 0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65,
        0x8b, 0x1b, 0x53, 0x2e, 0xa3, 0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19,
        0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8, 0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9,
        0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d, 0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31,
        0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64, 0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb,
        0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb, 0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0,
        0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e, 0x2b, 0x16, 0xbe, 0x58, 0x7d,
        0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce, 0x45, 0xcb, 0x3a, 0x8f,
        0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
    ];

    /// Inputs of the loop: long ones (the algorithm differs up to 240 bytes) of whole stripes.
    pub fn takes(data: &[u8]) -> bool {
        data.len() >= STRIPE * STRIPES && data.len().is_multiple_of(STRIPE)
    }

    fn secret(at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&SECRET[at..at + 8]);
        u64::from_le_bytes(bytes)
    }

    fn folded(left: u64, right: u64) -> u64 {
        let product = u128::from(left) * u128::from(right);
        product as u64 ^ (product >> 64) as u64
    }

    /// # Safety
    /// AVX2; `takes(data)`; unless `STORE` is `NONE`, `out` is valid for writes of `data.len()` bytes,
    /// aligned to 32.
    #[target_feature(enable = "avx2")]
    pub unsafe fn digest<const STORE: u8>(data: &[u8], out: *mut u8, next: *const u8) -> u64 {
        let (input, size) = (data.as_ptr(), data.len());
        let mut acc = [
            _mm256_set_epi64x(
                PRIME64[2] as i64,
                PRIME64[1] as i64,
                PRIME64[0] as i64,
                PRIME32[2] as i64,
            ),
            _mm256_set_epi64x(
                PRIME32[0] as i64,
                PRIME64[4] as i64,
                PRIME32[1] as i64,
                PRIME64[3] as i64,
            ),
        ];
        let stripes = size / STRIPE;
        // SAFETY: stripes lie in `data`; keys at (number % 16) * 8 + 64 bytes end at 184 of 192; `out` is as the
        // caller promises. Prefetches touch nothing.
        unsafe {
            for number in 0..stripes {
                let at = input.add(number * STRIPE);
                let ahead = number * STRIPE + AHEAD;
                let ahead = if ahead < size {
                    input.wrapping_add(ahead)
                } else if next.is_null() {
                    at
                } else {
                    next.wrapping_add(ahead - size)
                };
                _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                // The last stripe has a key of its own.
                let key = if number + 1 == stripes {
                    121
                } else {
                    number % STRIPES * 8
                };
                for (half, acc) in acc.iter_mut().enumerate() {
                    let value = _mm256_loadu_si256(at.add(32 * half).cast());
                    match STORE {
                        CACHED => {
                            _mm256_store_si256(out.add(number * STRIPE + 32 * half).cast(), value)
                        }
                        STREAMED => {
                            _mm256_stream_si256(out.add(number * STRIPE + 32 * half).cast(), value)
                        }
                        _ => {}
                    }
                    let keyed = _mm256_xor_si256(
                        value,
                        _mm256_loadu_si256(SECRET.as_ptr().add(key + 32 * half).cast()),
                    );
                    let product = _mm256_mul_epu32(keyed, _mm256_srli_epi64::<32>(keyed));
                    let swapped = _mm256_shuffle_epi32::<0b01_00_11_10>(value);
                    *acc = _mm256_add_epi64(*acc, _mm256_add_epi64(product, swapped));
                }
                if number % STRIPES == STRIPES - 1 && number + 1 < stripes {
                    let prime = _mm256_set1_epi64x(PRIME32[0] as i64);
                    for (half, acc) in acc.iter_mut().enumerate() {
                        let shifted = _mm256_xor_si256(*acc, _mm256_srli_epi64::<47>(*acc));
                        let key = _mm256_loadu_si256(SECRET.as_ptr().add(128 + 32 * half).cast());
                        let keyed = _mm256_xor_si256(shifted, key);
                        let low = _mm256_mul_epu32(keyed, prime);
                        let high = _mm256_mul_epu32(_mm256_srli_epi64::<32>(keyed), prime);
                        *acc = _mm256_add_epi64(low, _mm256_slli_epi64::<32>(high));
                    }
                }
            }
        }
        let mut lanes = [0u64; 8];
        // SAFETY: two vectors of four lanes each are the eight lanes.
        unsafe {
            _mm256_storeu_si256(lanes.as_mut_ptr().cast(), acc[0]);
            _mm256_storeu_si256(lanes.as_mut_ptr().add(4).cast(), acc[1]);
        }
        let mut hash = (size as u64).wrapping_mul(PRIME64[0]);
        for (pair, lanes) in lanes.chunks_exact(2).enumerate() {
            let (left, right) = (secret(11 + 16 * pair), secret(19 + 16 * pair));
            hash = hash.wrapping_add(folded(lanes[0] ^ left, lanes[1] ^ right));
        }
        hash ^= hash >> 37;
        hash = hash.wrapping_mul(0x1656_6791_9e37_79f9);
        hash ^ (hash >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::{Store, copied_xxh3_64, xxh3_64, xxh3_64_of_parts};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn digests_are_those_of_xxh3(
            seed in any::<u64>(),
            length in prop_oneof![0usize..3000, (0usize..300).prop_map(|stripes| 64 * stripes)],
            cut in 0usize..3000,
        ) {
            let mut state = seed;
            let data: Vec<u8> = (0..length).map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            }).collect();
            let expected = xxhash_rust::xxh3::xxh3_64(&data);
            prop_assert_eq!(xxh3_64(&data), expected);
            for store in [Store::Cached, Store::Streamed] {
                let mut room = vec![0u8; length + 32];
                let skip = room.as_ptr().align_offset(32);
                let out = &mut room[skip..skip + length];
                prop_assert_eq!(copied_xxh3_64(&data, out, store, std::ptr::null()), expected);
                super::fence();
                prop_assert_eq!(&*out, &data[..]);
            }
            let (one, other) = data.split_at(cut.min(data.len()));
            prop_assert_eq!(xxh3_64_of_parts(&[one, other], 0), expected);
        }
    }
}
