//! The libp2p behaviour that opens and takes session and pairing streams, and bounds connections.
//!
//! Pairing streams are taken in pairing mode only: at other times the protocol is not even offered.
//!
//! Unlike `libp2p-stream` it says on which connection a stream runs, opens one on a connection of our choice, and drops
//! no inbound stream for lack of room.

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::core::{Endpoint, transport::PortUse};
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionClosed, ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
    ListenFailure, NetworkBehaviour, NotifyHandler, Stream, StreamProtocol, StreamUpgradeError, SubstreamProtocol,
    THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use super::{PAIRING_PROTOCOL, PROTOCOL, identity};

/// Connections in all.
const MAX_CONNECTIONS: usize = 256;
/// Of them, those that others opened: so strangers cannot keep this device from dialling its own.
const MAX_INBOUND: usize = 224;
/// Inbound connections whose peer is not known yet.
const MAX_PENDING_INBOUND: usize = 32;
/// Connections with one peer.
const MAX_PER_PEER: usize = 8;

/// What a stream is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sort {
    /// A session of two members.
    Session,
    /// A pairing with a stranger.
    Pairing,
}

impl Sort {
    fn protocol(self) -> StreamProtocol {
        match self {
            Sort::Session => PROTOCOL,
            Sort::Pairing => PAIRING_PROTOCOL,
        }
    }
}

/// What happened to a stream.
#[derive(Debug)]
pub enum StreamEvent {
    /// The peer opened one.
    Inbound(Sort, Stream),
    /// The one we asked for is open.
    Outbound(Sort, Stream),
    /// The one we asked for could not be opened; why, for people.
    Refused(Sort, String),
}

/// The sorts that are taken, or the one that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Offered([Option<Sort>; 2]);

impl UpgradeInfo for Offered {
    type Info = StreamProtocol;
    type InfoIter =
        std::iter::Map<std::iter::Flatten<std::array::IntoIter<Option<Sort>, 2>>, fn(Sort) -> StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.into_iter().flatten().map(Sort::protocol)
    }
}

impl<C> InboundUpgrade<C> for Offered {
    type Output = (Sort, C);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: C, name: StreamProtocol) -> Self::Future {
        ready(Ok((if name == PAIRING_PROTOCOL { Sort::Pairing } else { Sort::Session }, stream)))
    }
}

impl<C> OutboundUpgrade<C> for Offered {
    type Output = C;
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: C, _: StreamProtocol) -> Self::Future {
        ready(Ok(stream))
    }
}

/// Why a connection was not taken.
#[derive(Debug)]
struct Denied(&'static str);

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Denied {}

/// See the module.
#[derive(Default)]
pub struct Streams {
    paused: bool,
    pending_inbound: HashSet<ConnectionId>,
    established: HashMap<ConnectionId, (PeerId, bool)>,
    /// Whether pairing streams are taken; the connections' parts look at it.
    pairing: Arc<AtomicBool>,
    out: VecDeque<ToSwarm<(PeerId, ConnectionId, StreamEvent), Sort>>,
}

impl Streams {
    /// Opens a stream on a connection; answered by `Outbound` or `Refused`, or by the connection's end.
    pub fn open(&mut self, peer: PeerId, connection: ConnectionId, sort: Sort) {
        let handler = NotifyHandler::One(connection);
        self.out.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler, event: sort });
    }

    /// Takes pairing streams, or no more.
    pub fn set_pairing(&mut self, on: bool) {
        self.pairing.store(on, Ordering::Relaxed);
    }

    /// While paused no connection is taken or made.
    pub fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    fn admit(&mut self, id: ConnectionId, peer: PeerId, inbound: bool) -> Result<Handler, ConnectionDenied> {
        self.pending_inbound.remove(&id);
        let deny = |why| Err(ConnectionDenied::new(Denied(why)));
        if self.paused {
            return deny("links are paused on this device");
        }
        if identity::from_libp2p(&peer).is_err() {
            return deny("its key is not an Ed25519 key");
        }
        let established = self.established.values();
        if established.clone().filter(|(other, _)| *other == peer).count() >= MAX_PER_PEER {
            return deny("too many connections with this peer");
        }
        if established.len() >= MAX_CONNECTIONS
            || inbound && established.filter(|(_, inbound)| *inbound).count() >= MAX_INBOUND
        {
            return deny("too many connections");
        }
        // Counted from here on: `FromSwarm::ConnectionClosed` comes only for connections that were established.
        Ok(Handler { pairing: self.pairing.clone(), wanted: [None; 2], out: VecDeque::new() })
    }
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = Handler;
    type ToSwarm = (PeerId, ConnectionId, StreamEvent);

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        if self.paused {
            return Err(ConnectionDenied::new(Denied("links are paused on this device")));
        }
        if self.pending_inbound.len() >= MAX_PENDING_INBOUND {
            return Err(ConnectionDenied::new(Denied("too many connections are being set up")));
        }
        self.pending_inbound.insert(id);
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.admit(id, peer, true)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.admit(id, peer, false)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(made) => {
                self.established.insert(made.connection_id, (made.peer_id, made.endpoint.is_listener()));
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => {
                self.established.remove(&connection_id);
            }
            FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => {
                self.pending_inbound.remove(&connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.out.push_back(ToSwarm::GenerateEvent((peer, id, event)));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // Filled only by calls from outside and by events that the swarm itself hands over: it polls again after both.
        self.out.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// One connection's part of it.
pub struct Handler {
    pairing: Arc<AtomicBool>,
    /// One of each sort at most.
    wanted: [Option<Sort>; 2],
    out: VecDeque<StreamEvent>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Sort;
    type ToBehaviour = StreamEvent;
    type InboundProtocol = Offered;
    type OutboundProtocol = Offered;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Sort;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        let pairing = self.pairing.load(Ordering::Relaxed).then_some(Sort::Pairing);
        SubstreamProtocol::new(Offered([Some(Sort::Session), pairing]), ())
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Sort, Self::ToBehaviour>> {
        if let Some(event) = self.out.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event));
        }
        if let Some(sort) = self.wanted.iter_mut().find_map(Option::take) {
            let protocol = SubstreamProtocol::new(Offered([Some(sort), None]), sort);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, sort: Sort) {
        if !self.wanted.contains(&Some(sort))
            && let Some(place) = self.wanted.iter_mut().find(|place| place.is_none())
        {
            *place = Some(sort);
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol, (), Sort>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: (sort, stream), .. }) => {
                // Of several from one peer the last counts: dropping the others here bounds the queue.
                self.out.retain(|event| !matches!(event, StreamEvent::Inbound(other, _) if *other == sort));
                self.out.push_back(StreamEvent::Inbound(sort, stream));
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, info: sort }) => {
                self.out.push_back(StreamEvent::Outbound(sort, stream));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, info: sort }) => {
                self.out.push_back(StreamEvent::Refused(sort, describe(sort, &error)));
            }
            _ => {}
        }
    }
}

fn describe(sort: Sort, error: &StreamUpgradeError<Infallible>) -> String {
    match error {
        StreamUpgradeError::Timeout => "it answered, but opened no session within 10 s".into(),
        StreamUpgradeError::NegotiationFailed if sort == Sort::Pairing => {
            "it shows no pairing code now, or is too old to pair".into()
        }
        StreamUpgradeError::NegotiationFailed => format!("it answered, but does not speak {PROTOCOL}"),
        StreamUpgradeError::Io(error) => format!("it answered, but then the connection broke: {error}"),
        StreamUpgradeError::Apply(never) => match *never {},
    }
}
