//! Reading no more than was allowed.

use std::collections::VecDeque;

#[cfg(feature = "script")]
use tokio::io::{AsyncRead, AsyncReadExt};

use super::redact::Redactor;

/// Bytes of an error stream that are kept for the error's text.
pub(crate) const TAIL: usize = 2048;

/// Reads to the end, or to one byte beyond `max`: then `None`.
#[cfg(feature = "script")]
pub(crate) async fn read_all(from: impl AsyncRead + Unpin, max: usize) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    from.take(u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut bytes).await?;
    Ok((bytes.len() <= max).then_some(bytes))
}

/// The end of a stream of any length.
#[derive(Debug)]
pub(crate) struct Tail {
    kept: VecDeque<u8>,
    /// So many more bytes that a secret which stands across the cut is recognised as one.
    margin: usize,
    cut: bool,
}

impl Tail {
    pub(crate) fn new(redactor: &Redactor) -> Self {
        Self { kept: VecDeque::new(), margin: redactor.longest(), cut: false }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.kept.extend(bytes);
        let excess = self.kept.len().saturating_sub(TAIL + self.margin);
        if excess > 0 {
            self.cut = true;
            self.kept.drain(..excess);
        }
    }

    /// Reads a stream to its end.
    #[cfg(feature = "script")]
    pub(crate) async fn drain(&mut self, mut from: impl AsyncRead + Unpin) -> std::io::Result<()> {
        let mut buffer = vec![0; 8192];
        loop {
            match from.read(&mut buffer).await? {
                0 => return Ok(()),
                read => self.push(buffer.get(..read).unwrap_or_default()),
            }
        }
    }

    /// The end as one trimmed text without secrets.
    pub(crate) fn text(self, redactor: &Redactor) -> String {
        let Self { kept, margin, cut } = self;
        let bytes: Vec<u8> = kept.into();
        let text = redactor.text(String::from_utf8_lossy(&bytes).into_owned());
        if !cut {
            return text.trim().to_owned();
        }
        // What is left of a secret whose beginning was cut off stands in the margin, which goes.
        let start = text.ceil_char_boundary(margin.min(text.len()));
        format!("...{}", text.get(start..).unwrap_or_default().trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::secret::Secret;

    #[test]
    fn no_part_of_a_secret_stands_in_a_tail_wherever_it_was_cut() {
        let secret = "s3cr3t-value-of-some-length";
        let redactor = Redactor::new([Secret::new(secret.to_owned())]);
        for shift in 0..=secret.len() {
            let mut tail = Tail::new(&redactor);
            tail.push(format!("head {secret}").as_bytes());
            tail.push("x".repeat(TAIL + shift).as_bytes());
            let text = tail.text(&redactor);
            assert!(text.len() <= TAIL + 3, "{}", text.len());
            for part in [&secret[secret.len() - 4..], "redacted-"] {
                assert!(!text.contains(part), "{shift}: {}", &text[..40]);
            }
        }
        let mut whole = Tail::new(&redactor);
        whole.push(format!(" a {secret} b\n").as_bytes());
        assert_eq!(whole.text(&redactor), "a <redacted> b");
    }
}
