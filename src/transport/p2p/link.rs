//! One stream of frames over any byte stream: the cutting, the queue, the limits. It is driven by polling, so nothing
//! is read that nobody has asked for, and time comes in ticks of a second.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{AsyncRead, AsyncWrite};

use crate::types::limits::MAX_FRAME_BYTES;

/// Bytes that may wait to be sent; more closes the link (the engine's credit window stays below it).
pub(super) const MAX_QUEUED: usize = 8 << 20;
/// Seconds that a frame may take to arrive, the first one counted from the start of the link.
const FRAME_TICKS: u32 = 30;
/// Seconds that a hang-up may take.
const CLOSE_TICKS: u32 = 5;
/// Bytes of a length prefix.
const PREFIX: usize = 4;
/// Read buffer at first, and at most.
const BUFFER: (usize, usize) = (4 << 10, 128 << 10);
/// Bytes that go out in one write; also about what one poll reads.
const CHUNK: usize = 64 << 10;

/// What one poll has brought.
#[derive(Default, Debug)]
pub(super) struct Progress {
    /// Whole frames, in order.
    pub frames: Vec<Vec<u8>>,
    /// Bytes of queued frames that have gone out.
    pub sent: usize,
    /// Whether anything came in.
    pub heard: bool,
}

/// A stream of frames.
pub(super) struct Link<S> {
    stream: S,
    buffer: Vec<u8>,
    filled: usize,
    frame_ticks: u32,
    first_frame_seen: bool,
    queue: VecDeque<Vec<u8>>,
    queued: usize,
    chunk: Vec<u8>,
    chunk_written: usize,
    chunk_frames: usize,
    unflushed: bool,
    closing: Option<Closing>,
}

struct Closing {
    ticks: u32,
    sent_end: bool,
}

/// Why a link has ended, for logs.
pub(super) type Ended = String;

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            filled: 0,
            frame_ticks: 0,
            first_frame_seen: false,
            queue: VecDeque::new(),
            queued: 0,
            chunk: Vec::new(),
            chunk_written: 0,
            chunk_frames: 0,
            unflushed: false,
            closing: None,
        }
    }

    /// Queues a frame; an error ends the link.
    pub fn send(&mut self, frame: Vec<u8>) -> Result<(), Ended> {
        if self.closing.is_some() {
            return Ok(());
        }
        if frame.is_empty() || frame.len() > MAX_FRAME_BYTES {
            return Err(format!("this device made a frame of {} bytes", frame.len()));
        }
        self.queued += frame.len();
        if self.queued > MAX_QUEUED {
            return Err(format!("more than {MAX_QUEUED} bytes wait to be sent; the peer reads too slowly"));
        }
        self.queue.push_back(frame);
        Ok(())
    }

    /// Reads no more, sends what is queued, then closes.
    pub fn hang_up(&mut self) {
        if self.closing.is_none() {
            self.closing = Some(Closing { ticks: 0, sent_end: false });
        }
    }

    pub fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// A second has gone by.
    pub fn tick(&mut self) -> Result<(), Ended> {
        if let Some(closing) = &mut self.closing {
            closing.ticks += 1;
            return if closing.ticks > CLOSE_TICKS { Err("hung up; the peer did not close".into()) } else { Ok(()) };
        }
        if self.filled == 0 && self.first_frame_seen {
            return Ok(());
        }
        self.frame_ticks += 1;
        if self.frame_ticks <= FRAME_TICKS {
            return Ok(());
        }
        Err(format!("no whole frame within {FRAME_TICKS} s"))
    }

    /// Writes and reads what can be, without waiting; an error says why the link is over. What came before is in
    /// `progress` all the same.
    pub fn poll(&mut self, cx: &mut Context<'_>, read: bool, progress: &mut Progress) -> Result<(), Ended> {
        let written = self.poll_write(cx, progress);
        // Even where nothing can be written any more, what the peer has sent is there to be read.
        let been_read = match (&mut self.closing, read) {
            (Some(_), _) => self.poll_end(cx),
            (None, true) => self.poll_read(cx, progress),
            (None, false) => Ok(()),
        };
        written.and(been_read)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, progress: &mut Progress) -> Result<(), Ended> {
        loop {
            if self.chunk_written == self.chunk.len() {
                progress.sent += self.chunk_frames;
                self.queued -= self.chunk_frames;
                self.next_chunk();
                if self.chunk.is_empty() {
                    break;
                }
            }
            match Pin::new(&mut self.stream).poll_write(cx, &self.chunk[self.chunk_written..]) {
                Poll::Ready(Ok(0)) => return Err("the peer takes no more".into()),
                Poll::Ready(Ok(bytes)) => self.chunk_written += bytes,
                Poll::Ready(Err(error)) => return Err(error.to_string()),
                Poll::Pending => return Ok(()),
            }
            self.unflushed = true;
        }
        if self.unflushed
            && let Poll::Ready(result) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            result.map_err(|error| error.to_string())?;
            self.unflushed = false;
        }
        Ok(())
    }

    fn next_chunk(&mut self) {
        self.chunk.clear();
        (self.chunk_written, self.chunk_frames) = (0, 0);
        while self.chunk.len() < CHUNK
            && let Some(frame) = self.queue.pop_front()
        {
            // A frame is at most MAX_FRAME_BYTES, checked by `send`.
            self.chunk.extend_from_slice(&(frame.len() as u32).to_be_bytes());
            self.chunk.extend_from_slice(&frame);
            self.chunk_frames += frame.len();
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, progress: &mut Progress) -> Result<(), Ended> {
        if self.buffer.is_empty() {
            self.buffer.resize(BUFFER.0, 0);
        }
        let mut total = 0;
        while total < CHUNK {
            let bytes = match Pin::new(&mut self.stream).poll_read(cx, &mut self.buffer[self.filled..]) {
                Poll::Ready(Ok(0)) => return Err("the peer closed the stream".into()),
                Poll::Ready(Ok(bytes)) => bytes,
                Poll::Ready(Err(error)) => return Err(error.to_string()),
                Poll::Pending => return Ok(()),
            };
            progress.heard = true;
            self.filled += bytes;
            total += bytes;
            let was_full = self.filled == self.buffer.len();
            let needed = self.cut(progress)?;
            let size = self.buffer.len();
            let grown = if was_full { (size * 2).min(BUFFER.1) } else { size };
            if needed.max(grown) > size {
                self.buffer.resize(needed.max(grown), 0);
            }
        }
        // More may be there: come back once these frames are taken.
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Cuts whole frames out of the buffer; returns how long the buffer must be for the one that is not whole.
    fn cut(&mut self, progress: &mut Progress) -> Result<usize, Ended> {
        let mut start = 0;
        let needed = loop {
            let rest = &self.buffer[start..self.filled];
            let Some((prefix, body)) = rest.split_first_chunk::<PREFIX>() else { break PREFIX };
            let length = u32::from_be_bytes(*prefix) as usize;
            if length == 0 || length > MAX_FRAME_BYTES {
                return Err(format!("the peer announced a frame of {length} bytes"));
            }
            let Some(frame) = body.get(..length) else { break PREFIX + length };
            progress.frames.push(frame.to_vec());
            self.first_frame_seen = true;
            self.frame_ticks = 0;
            start += PREFIX + length;
        };
        self.buffer.copy_within(start..self.filled, 0);
        self.filled -= start;
        Ok(needed)
    }

    /// Closes our half once all is out, then waits for the peer's: dropping a stream earlier may reset it, and the
    /// peer would lose our last words.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        let idle = self.chunk.is_empty() && !self.unflushed;
        let Some(closing) = &mut self.closing else { return Ok(()) };
        if idle && !closing.sent_end {
            match Pin::new(&mut self.stream).poll_close(cx) {
                Poll::Ready(Ok(())) => closing.sent_end = true,
                Poll::Ready(Err(error)) => return Err(error.to_string()),
                Poll::Pending => return Ok(()),
            }
        }
        if closing.sent_end && self.poll_discard(cx).is_ready() {
            return Err("hung up".into());
        }
        Ok(())
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.buffer.resize(BUFFER.0.max(self.buffer.len()), 0);
        for _ in 0..16 {
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut self.buffer)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use crate::test;
    use std::cell::RefCell;
    use std::io;
    use std::rc::Rc;

    use futures::task::noop_waker;
    use proptest::prelude::*;

    use super::*;

    /// One direction of a pipe that takes and gives at most `step` bytes at a time, and holds at most `room`.
    #[derive(Default)]
    struct Lane {
        bytes: VecDeque<u8>,
        closed: bool,
        step: usize,
        room: usize,
    }

    struct Pipe {
        incoming: Rc<RefCell<Lane>>,
        outgoing: Rc<RefCell<Lane>>,
    }

    impl AsyncRead for Pipe {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, to: &mut [u8]) -> Poll<io::Result<usize>> {
            let mut lane = self.incoming.borrow_mut();
            let length = to.len().min(lane.bytes.len()).min(lane.step);
            if length == 0 && !lane.closed {
                return Poll::Pending;
            }
            to.iter_mut().zip(lane.bytes.drain(..length)).for_each(|(to, byte)| *to = byte);
            Poll::Ready(Ok(length))
        }
    }

    impl AsyncWrite for Pipe {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
            let mut lane = self.outgoing.borrow_mut();
            let length = from.len().min(lane.step).min(lane.room.saturating_sub(lane.bytes.len()));
            if length == 0 {
                return Poll::Pending;
            }
            lane.bytes.extend(&from[..length]);
            Poll::Ready(Ok(length))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.outgoing.borrow_mut().closed = true;
            Poll::Ready(Ok(()))
        }
    }

    fn pipes(step: usize, room: usize) -> (Pipe, Pipe) {
        let lane = || Rc::new(RefCell::new(Lane { step, room, ..Lane::default() }));
        let (one, two) = (lane(), lane());
        (Pipe { incoming: one.clone(), outgoing: two.clone() }, Pipe { incoming: two, outgoing: one })
    }

    fn poll(link: &mut Link<Pipe>) -> (Progress, Result<(), Ended>) {
        let mut progress = Progress::default();
        let result = link.poll(&mut Context::from_waker(&noop_waker()), true, &mut progress);
        (progress, result)
    }

    /// A link whose peer has written these bytes.
    fn fed(bytes: &[u8]) -> Link<Pipe> {
        let (ours, theirs) = pipes(usize::MAX, usize::MAX);
        theirs.outgoing.borrow_mut().bytes.extend(bytes);
        Link::new(ours)
    }

    proptest! {
        #[test]
        fn any_frames_arrive_whole_and_in_order_however_the_stream_cuts_them(
            frames in prop::collection::vec((1usize..70, any::<u8>(), prop::bool::weighted(0.1)), 0..30),
            step in prop_oneof![1usize..20, 500usize..5_000],
        ) {
            let frames: Vec<_> = frames
                .into_iter()
                .map(|(length, byte, long)| vec![byte; if long { length * 900 } else { length }])
                .collect();
            let (a, b) = pipes(step, 20_000);
            let (mut a, mut b) = (Link::new(a), Link::new(b));
            for frame in &frames {
                a.send(frame.clone()).unwrap();
            }
            a.hang_up();
            let (mut arrived, mut sent) = (Vec::new(), 0);
            let ended = loop {
                let (progress, _) = poll(&mut a);
                sent += progress.sent;
                let (progress, result) = poll(&mut b);
                arrived.extend(progress.frames);
                if let Err(why) = result {
                    break why;
                }
            };
            prop_assert_eq!(ended, "the peer closed the stream");
            prop_assert_eq!(sent, frames.iter().map(Vec::len).sum::<usize>());
            prop_assert_eq!(arrived, frames);
        }

        #[test]
        fn any_bytes_are_cut_into_frames_of_legal_length_or_end_the_link(
            bytes in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..3_000),
        ) {
            let (progress, _) = poll(&mut fed(&bytes));
            let mut rest = &bytes[..];
            for frame in &progress.frames {
                let (prefix, body) = rest.split_first_chunk::<4>().unwrap();
                let length = u32::from_be_bytes(*prefix) as usize;
                prop_assert!((1..=MAX_FRAME_BYTES).contains(&length));
                prop_assert_eq!(&frame[..], &body[..length]);
                rest = &body[length..];
            }
        }
    }

    #[test]
    fn a_frame_of_no_bytes_or_too_many_ends_the_link_after_the_frames_before_it() {
        for length in [0, MAX_FRAME_BYTES as u32 + 1, u32::MAX] {
            let mut bytes = vec![0, 0, 0, 1, 7];
            bytes.extend(length.to_be_bytes());
            let mut link = fed(&bytes);
            let (progress, result) = poll(&mut link);
            assert_eq!(progress.frames, [vec![7]]);
            assert!(result.unwrap_err().contains(&length.to_string()));
            assert!(link.buffer.len() <= BUFFER.0, "memory was taken for a frame that cannot be");
        }
    }

    #[test]
    fn half_a_frame_and_silence_from_the_start_have_thirty_seconds_and_a_quiet_link_has_no_limit() {
        for (bytes, ends) in [(&[][..], true), (&[0, 0], true), (&[0, 0, 0, 1, 7, 0], true), (&[0, 0, 0, 1, 7], false)]
        {
            let mut link = fed(bytes);
            poll(&mut link).1.unwrap();
            (0..FRAME_TICKS).for_each(|_| link.tick().unwrap());
            assert_eq!(link.tick().is_err(), ends, "{bytes:?}");
        }
    }

    #[test]
    fn a_peer_that_does_not_close_has_five_seconds_after_a_hang_up() {
        let (a, _b) = pipes(10, 10);
        let mut link = Link::new(a);
        link.send(vec![1; 100]).unwrap();
        link.hang_up();
        link.send(vec![2]).unwrap();
        poll(&mut link).1.unwrap();
        (0..CLOSE_TICKS).for_each(|_| link.tick().unwrap());
        assert!(link.tick().is_err());
    }

    #[test]
    fn frames_that_cannot_be_sent_and_a_full_queue_are_refused() {
        let (a, _b) = pipes(10, 0);
        let mut link = Link::new(a);
        assert!(link.send(vec![]).is_err());
        assert!(link.send(vec![0; MAX_FRAME_BYTES + 1]).is_err());
        for _ in 0..MAX_QUEUED / MAX_FRAME_BYTES {
            link.send(vec![0; MAX_FRAME_BYTES]).unwrap();
        }
        assert!(link.send(vec![0]).is_err());
    }

    #[test]
    fn one_poll_reads_about_as_much_as_a_frame_however_much_is_there() {
        let one = [&(60_000u32.to_be_bytes())[..], &[1; 60_000]].concat();
        let mut link = fed(&one.repeat(100));
        for _ in 0..100 {
            let (progress, result) = poll(&mut link);
            result.unwrap();
            assert!(progress.frames.len() <= 4, "{}", progress.frames.len());
        }
    }
}
