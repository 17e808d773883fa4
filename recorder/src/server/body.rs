//! A body that is written on one thread and sent from another, a few pieces ahead at most.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use futures_core::Stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;

const PIECE: usize = 64 * 1024;
const AHEAD: usize = 2;

/// A client that takes nothing for so long is given up, so that another can have its turn.
const DAWDLE: Duration = Duration::from_secs(30);

/// The two ends. The first must be used on a thread that may block, inside the runtime.
pub(super) fn pipe() -> (Pipe, Pieces) {
    let (sender, receiver) = mpsc::channel(AHEAD);
    (
        Pipe {
            sender,
            piece: Vec::new(),
        },
        Pieces(receiver),
    )
}

pub(super) struct Pipe {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Pipe {
    /// Sends what is left. A failure is passed on, so that the client sees an answer cut short and
    /// not one that looks whole.
    pub(super) fn finish(mut self, outcome: io::Result<()>) {
        let outcome = outcome.and_then(|()| self.flush());
        if let Err(error) = outcome {
            let _ = self.send(Err(error));
        }
    }

    fn send(&self, piece: io::Result<Bytes>) -> io::Result<()> {
        match Handle::current().block_on(self.sender.send_timeout(piece, DAWDLE)) {
            Ok(()) => Ok(()),
            Err(SendTimeoutError::Closed(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(SendTimeoutError::Timeout(_)) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.piece);
        self.send(Ok(Bytes::from(piece)))
    }
}

pub(super) struct Pieces(mpsc::Receiver<io::Result<Bytes>>);

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
