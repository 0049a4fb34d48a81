//! What a container prints: frames of both its streams, read as they come and bounded.

use std::pin::pin;

use bytes::{Buf, BytesMut};
use futures::future::{Either, select};
use http_body_util::BodyExt;

use super::engine::Engine;
use crate::{
    endpoint::{answer, bound::Tail, call::Call},
    job_error::{JobError, JobErrorKind},
};

/// A frame's head: the stream's number, three zeros, and the length of what follows, big-endian.
const HEAD: usize = 8;
const STDERR: u8 = 2;

/// Both streams, as far as they are kept.
pub(super) struct Printed {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Tail,
}

/// Waits for the end of the container, and tells what it printed and its exit code.
///
/// It is followed only to notice one that prints too much. An engine may lose the last lines of a container that ends
/// while it is followed, never close the stream (Podman does both), or break it off, so what counts is read when it has
/// ended: an engine says that a container has ended when what it printed is written.
pub(super) async fn to_the_end(engine: &Engine, name: &str, call: &Call) -> Result<(Printed, i64), JobError> {
    let too_much = pin!(too_much(engine, name, call));
    let exit = match select(too_much, pin!(engine.wait(name))).await {
        Either::Left((Some(error), _)) => return Err(error),
        Either::Left((None, wait)) => wait.await?,
        Either::Right((exit, _)) => exit?,
    };
    Ok((read(engine, name, call).await?, exit))
}

/// Follows the container until it has printed too much. `None` when the stream ends before, however it does: that says
/// nothing about the container.
async fn too_much(engine: &Engine, name: &str, call: &Call) -> Option<JobError> {
    let (mut body, _open) = engine.logs(name, true).await.ok()?;
    let mut reader = Reader::new(call.limits.max_output_bytes, Tail::new(&call.redactor));
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(error) = frame.into_data().ok().and_then(|data| reader.push(&data).err()) {
            return Some(error);
        }
    }
    None
}

/// What a container printed that has ended.
async fn read(engine: &Engine, name: &str, call: &Call) -> Result<Printed, JobError> {
    let (mut body, _open) = engine.logs(name, false).await?;
    let mut reader = Reader::new(call.limits.max_output_bytes, Tail::new(&call.redactor));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let text = format!("the container engine broke off what the container prints: {error}");
            JobError::new(JobErrorKind::Retryable, "container_engine_unavailable", text)
        })?;
        if let Ok(data) = frame.into_data() {
            reader.push(&data)?;
        }
    }
    Ok(reader.printed)
}

struct Reader {
    max: usize,
    head: BytesMut,
    /// Whose bytes come now, and how many.
    current: (u8, usize),
    printed: Printed,
}

impl Reader {
    fn new(max: usize, stderr: Tail) -> Self {
        Self { max, head: BytesMut::new(), current: (0, 0), printed: Printed { stdout: Vec::new(), stderr } }
    }

    /// Frames end where they like, not where chunks do.
    fn push(&mut self, mut data: &[u8]) -> Result<(), JobError> {
        while !data.is_empty() {
            if self.current.1 == 0 {
                let missing = HEAD - self.head.len();
                let taken = data.len().min(missing);
                self.head.extend_from_slice(data.get(..taken).unwrap_or_default());
                data.advance(taken);
                if self.head.len() == HEAD {
                    let stream = self.head.get_u8();
                    self.head.advance(3);
                    let length = usize::try_from(self.head.get_u32()).unwrap_or(usize::MAX);
                    self.head.clear();
                    self.current = (stream, length);
                }
                continue;
            }
            let (stream, left) = self.current;
            let (bytes, rest) = data.split_at(data.len().min(left));
            if stream == STDERR {
                self.printed.stderr.push(bytes);
            } else if self.printed.stdout.len() + bytes.len() > self.max {
                return Err(answer::too_large("the standard output", self.max));
            } else {
                self.printed.stdout.extend_from_slice(bytes);
            }
            self.current.1 = left - bytes.len();
            data = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::redact::Redactor;

    #[test]
    fn frames_are_read_wherever_they_are_cut() {
        let none = Redactor::default();
        let stream = [
            &[1, 0, 0, 0, 0, 0, 0, 3][..],
            b"abc",
            &[2, 0, 0, 0, 0, 0, 0, 2],
            b"xy",
            &[1, 0, 0, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0, 0, 0, 0, 1],
            b"d",
        ]
        .concat();
        for size in 1..=stream.len() {
            let mut reader = Reader::new(4, Tail::new(&none));
            for chunk in stream.chunks(size) {
                reader.push(chunk).unwrap();
            }
            assert_eq!(reader.printed.stdout, b"abcd", "{size}");
            assert_eq!(reader.printed.stderr.text(&none), "xy", "{size}");
            let mut small = Reader::new(3, Tail::new(&none));
            assert!(stream.chunks(size).any(|chunk| small.push(chunk).is_err()), "{size}");
        }
    }
}
