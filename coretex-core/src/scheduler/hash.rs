//! Hashes that are the same in every process and on every machine: choices derived from them can be explained later.

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit of the input changes half of the output's.
pub(crate) const fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Hashes a text, eight bytes at a time. Not for adversaries: who chooses names can choose collisions.
pub(crate) fn hash_text(seed: u64, text: &str) -> u64 {
    let mut hash = mix(seed ^ text.len() as u64);
    for chunk in text.as_bytes().chunks(8) {
        let mut word = [0_u8; 8];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        hash = mix(hash ^ u64::from_le_bytes(word));
    }
    hash
}

/// A hash as a number above 0 and below 1.
pub(crate) fn unit(hash: u64) -> f64 {
    // 53 bits are all that a double keeps.
    let bits = (hash >> 11) as f64;
    (bits + 0.5) / 9_007_199_254_740_992.0
}
