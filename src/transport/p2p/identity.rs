//! Our keys and names as libp2p's.

use libp2p::identity;

use crate::error::{Error, Result};
use crate::types::{Keypair, PeerId};

/// The same Ed25519 key for libp2p.
pub fn keypair(keypair: &Keypair) -> Result<identity::Keypair> {
    let mut seed = keypair.seed();
    identity::Keypair::ed25519_from_bytes(&mut seed[..])
        .map_err(|error| Error::invalid(format!("the device key cannot be used for connections: {error}")))
}

/// The same name for libp2p.
pub fn to_libp2p(peer: &PeerId) -> Result<libp2p::PeerId> {
    libp2p::PeerId::from_bytes(&peer.to_libp2p_bytes())
        .map_err(|error| Error::invalid(format!("{peer} is not a peer id: {error}")))
}

/// Our name of a libp2p peer; fails where its key is not Ed25519.
pub fn from_libp2p(peer: &libp2p::PeerId) -> Result<PeerId> {
    PeerId::from_libp2p_bytes(&peer.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    #[test]
    fn a_device_has_the_same_name_here_and_in_libp2p() {
        let ours = Keypair::from_seed(&[5; 32]);
        let theirs = keypair(&ours).unwrap().public().to_peer_id();
        assert_eq!(theirs.to_string(), ours.peer_id().to_string());
        assert_eq!(from_libp2p(&theirs).unwrap(), ours.peer_id());
        assert_eq!(to_libp2p(&ours.peer_id()).unwrap(), theirs);
    }

    #[test]
    fn a_peer_whose_key_is_not_ed25519_has_no_name_here() {
        assert!(from_libp2p(&libp2p::PeerId::random()).is_err());
    }
}
