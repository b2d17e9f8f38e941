//! Nameplates: a relay names a device in pairing mode by a short number for two minutes, so that its user can read the
//! number and the code to somebody far away (PROTOCOL.md section 12.4). Who claims one is who the connection
//! authenticated; the relay never sees the code.
//!
//! One request and one answer a stream, a few bytes each.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{StreamProtocol, request_response};

use crate::error::{Error, Result};
use crate::pairing::NAMEPLATES;
use crate::types::PeerId;
use crate::types::codec::{Reader, put_varint};

/// The name of the protocol.
pub const NAMEPLATE_PROTOCOL: StreamProtocol = StreamProtocol::new("/privstack/nameplate/1");
/// Bytes of a request or an answer at most.
const MAX_BYTES: u64 = 64;

/// What a device asks a relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// A number for itself; it replaces the one before.
    Claim,
    /// To give its number back.
    Release,
    /// Whose this number is.
    Find(u16),
}

/// What the relay answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// This is the device's number now.
    Number(u16),
    /// It has none now.
    Released,
    /// This device's.
    Device(PeerId),
    /// Nobody's.
    Nobody,
    /// Too many were asked for; later.
    Busy,
}

impl Ask {
    /// The request's bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Ask::Claim => out.push(0),
            Ask::Release => out.push(1),
            Ask::Find(number) => {
                out.push(2);
                put_varint(&mut out, number.into());
            }
        }
        out
    }

    /// Reads a request.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let ask = match reader.byte()? {
            0 => Ask::Claim,
            1 => Ask::Release,
            2 => Ask::Find(number(&mut reader)?),
            _ => return Err(Error::protocol("a nameplate request of an unknown sort")),
        };
        reader.finish()?;
        Ok(ask)
    }
}

impl Answer {
    /// The answer's bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Answer::Number(number) => {
                out.push(0);
                put_varint(&mut out, number.into());
            }
            Answer::Released => out.push(1),
            Answer::Device(peer) => {
                out.push(2);
                out.extend_from_slice(&peer.0);
            }
            Answer::Nobody => out.push(3),
            Answer::Busy => out.push(4),
        }
        out
    }

    /// Reads an answer.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let answer = match reader.byte()? {
            0 => Answer::Number(number(&mut reader)?),
            1 => Answer::Released,
            2 => Answer::Device(PeerId(reader.array()?)),
            3 => Answer::Nobody,
            4 => Answer::Busy,
            _ => return Err(Error::protocol("a nameplate answer of an unknown sort")),
        };
        reader.finish()?;
        Ok(answer)
    }
}

fn number(reader: &mut Reader<'_>) -> Result<u16> {
    let number = reader.bounded(u16::MAX.into(), "a nameplate")? as u16;
    match NAMEPLATES.contains(&number) {
        true => Ok(number),
        false => Err(Error::protocol("a nameplate out of its range")),
    }
}

/// Reads and writes them.
#[derive(Clone, Copy, Default, Debug)]
pub struct NameplateCodec;

async fn read<T: AsyncRead + Unpin + Send, M>(io: &mut T, decode: fn(&[u8]) -> Result<M>) -> io::Result<M> {
    let mut bytes = Vec::new();
    io.take(MAX_BYTES).read_to_end(&mut bytes).await?;
    decode(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

impl request_response::Codec for NameplateCodec {
    type Protocol = StreamProtocol;
    type Request = Ask;
    type Response = Answer;

    async fn read_request<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Ask> {
        read(io, Ask::decode).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Answer> {
        read(io, Answer::decode).await
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        ask: Ask,
    ) -> io::Result<()> {
        io.write_all(&ask.to_bytes()).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        answer: Answer,
    ) -> io::Result<()> {
        io.write_all(&answer.to_bytes()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test;

    #[test]
    fn requests_and_answers_read_back_and_others_are_refused() {
        for ask in [Ask::Claim, Ask::Release, Ask::Find(1_000), Ask::Find(9_999)] {
            let bytes = ask.to_bytes();
            assert_eq!(Ask::decode(&bytes).unwrap(), ask);
            assert!((0..bytes.len()).all(|end| Ask::decode(&bytes[..end]).is_err()));
            assert!(Ask::decode(&[&bytes[..], &[0]].concat()).is_err());
        }
        for answer in
            [Answer::Number(1_000), Answer::Released, Answer::Device(PeerId([7; 32])), Answer::Nobody, Answer::Busy]
        {
            let bytes = answer.to_bytes();
            assert_eq!(Answer::decode(&bytes).unwrap(), answer);
            assert!((0..bytes.len()).all(|end| Answer::decode(&bytes[..end]).is_err()));
        }
        assert!(Ask::decode(&[2, 5]).is_err() && Answer::decode(&[0, 5]).is_err() && Ask::decode(&[9]).is_err());
    }
}
