//! The seam between the engine and networks.
//!
//! A [`Transport`] gives authenticated, ordered, reliable streams of frames, one per connected pair of peers, and
//! knows nothing of what the frames mean.

pub mod memory;
#[cfg(feature = "p2p")]
pub mod p2p;

use std::future::poll_fn;
use std::task::{Context, Poll};

use crate::engine::{LinkId, Via};
use crate::error::{Error, ErrorCode, Result};
use crate::types::PeerId;

/// What a transport tells.
#[derive(Debug)]
pub enum TransportEvent {
    /// A stream is open: exactly one at a time per peer.
    LinkUp {
        /// Its number, never used again.
        link: LinkId,
        /// The peer as the connection authenticated it.
        peer: PeerId,
        /// Whether this side opened the stream.
        initiator: bool,
        /// The way.
        via: Via,
    },
    /// A pairing stream is open; its frames, its end and what is sent on it are told and asked for as a link's.
    PairingUp {
        /// Its number, of no other link or pairing.
        link: LinkId,
        /// The peer as the connection authenticated it.
        peer: PeerId,
        /// Whether this side opened the stream.
        initiator: bool,
        /// The way.
        via: Via,
    },
    /// A pairing stream that was asked for could not be opened; why, for people.
    PairingFailed(PeerId, String),
    /// A relay names this device by this number now.
    NameplateClaimed(u16),
    /// Whom the relays name by this number, if anybody.
    NameplateFound(u16, Result<Option<PeerId>>),
    /// The stream has ended.
    LinkDown(LinkId),
    /// One frame.
    Frame(LinkId, Vec<u8>),
    /// `bytes` that were queued have gone out.
    Sent(LinkId, usize),
    /// A peer was found on the local network, or told where it can be reached.
    PeerFound(PeerId, Vec<String>),
    /// A dial ended without a link; the text is for people.
    DialFailed(PeerId, String),
    /// A dial of an address whose peer is not known ([`Transport::dial_address`]) ended without a link.
    AddressFailed(String, Error),
    /// This device can now be reached here (a multiaddress that ends in its peer id).
    Listening(String),
    /// An address cannot be listened on.
    ListenFailed(String, Error),
    /// This device can no longer be reached at an address that it told before.
    ListenEnded(String),
    /// A part of the transport does not work (mDNS, say); the rest goes on.
    Warning(Error),
}

/// A network: libp2p, or one in memory.
pub trait Transport {
    /// The next event; pending while there is none, and then wakes whoever asked last.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<TransportEvent>;
    /// The next event. Cancel-safe.
    fn next(&mut self) -> impl Future<Output = TransportEvent>
    where
        Self: Sized,
    {
        poll_fn(|cx| self.poll_next(cx))
    }
    /// Queues a frame of at most `MAX_FRAME_BYTES`. Frames to a link that is gone are dropped.
    fn send(&mut self, link: LinkId, frame: Vec<u8>);
    /// Closes a stream once what is queued is out (at most 5 s later).
    fn hang_up(&mut self, link: LinkId);
    /// Connects to a peer at these multiaddresses, or wherever it was found.
    fn dial(&mut self, peer: PeerId, addresses: Vec<String>);
    /// Dials an address whose peer id may not be known (no `/p2p/…` at its end).
    fn dial_address(&mut self, address: &str) -> Result<()>;
    /// Reaches others through these relays from now on (multiaddresses that end in the relay's peer id), and keeps the
    /// places at those that it used before. A network that needs none has nothing to do.
    fn set_relays(&mut self, relays: &[String]) -> Result<()> {
        let _ = relays;
        Ok(())
    }
    /// Takes pairing streams of anybody, or no more; at the start none are taken.
    fn set_pairing(&mut self, on: bool) {
        let _ = on;
    }
    /// Opens a pairing stream with a peer: at these addresses, or wherever it was found. Answered by
    /// [`TransportEvent::PairingUp`] or [`TransportEvent::PairingFailed`]. Fails where this network has none.
    fn pair(&mut self, peer: PeerId, addresses: Vec<String>) -> Result<()> {
        let _ = addresses;
        Err(Error::new(ErrorCode::Unsupported, format!("this network cannot pair with {peer}")))
    }
    /// Asks a relay for a number that names this device; answered by [`TransportEvent::NameplateClaimed`], or not at
    /// all where there is no relay or it has none.
    fn claim_nameplate(&mut self) {}
    /// Asks the relays whom they name by a number; answered by [`TransportEvent::NameplateFound`]. Fails where there is
    /// no relay.
    fn find_nameplate(&mut self, number: u16) -> Result<()> {
        let _ = number;
        Err(Error::new(ErrorCode::Unreachable, "a code with a relay's number needs a relay; name one"))
    }
    /// Cuts every link and refuses new ones until [`Transport::resume`].
    fn pause(&mut self);
    /// The same for links that may still send what they have, for at most two seconds.
    fn rest(&mut self) {
        self.pause();
    }
    /// See [`Transport::pause`].
    fn resume(&mut self);
}
