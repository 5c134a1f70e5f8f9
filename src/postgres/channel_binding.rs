//! What binds a password's proof to the certificate that was seen (RFC 5929, `tls-server-end-point`): the certificate's hash,
//! made with the hash of its own signature. Only that is read from the certificate; rustls has looked at the rest.

use sha2::{Digest as _, Sha256, Sha384, Sha512};

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// PKCS #1, the algorithms of RSA …
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
/// … and ECDSA with SHA-2.
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];

/// The hash; none for signatures that name no hash, such as Ed25519's, for which the RFC has no answer.
pub(super) fn tls_server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let algorithm = signature_algorithm(certificate)?;
    let (family, number) = algorithm.split_at(algorithm.len().checked_sub(1)?);
    match (family, number) {
        // MD5, SHA-1 and SHA-256: the first two are raised to the third.
        (RSA, [4 | 5 | 11]) | (ECDSA, [2]) => Some(Sha256::digest(certificate).to_vec()),
        (RSA, [12]) | (ECDSA, [3]) => Some(Sha384::digest(certificate).to_vec()),
        (RSA, [13]) | (ECDSA, [4]) => Some(Sha512::digest(certificate).to_vec()),
        _ => None,
    }
}

/// `Certificate ::= SEQUENCE { tbsCertificate SEQUENCE, signatureAlgorithm SEQUENCE { algorithm OBJECT IDENTIFIER …`
fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let (inside, _) = value(certificate, SEQUENCE)?;
    let (_, behind) = value(inside, SEQUENCE)?;
    let (algorithm, _) = value(behind, SEQUENCE)?;
    value(algorithm, OBJECT_IDENTIFIER).map(|(identifier, _)| identifier)
}

/// The value at the beginning of DER, if it is of this kind, and what follows it.
fn value(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let [kind, first, rest @ ..] = der else { return None };
    // Below 128 it is the length; else how many bytes the length takes.
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        (bytes.iter().try_fold(0usize, |length, byte| length.checked_mul(256)?.checked_add(usize::from(*byte)))?, rest)
    };
    (*kind == wanted).then(|| rest.split_at_checked(length)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_has_no_hash() {
        for der in
            [&b""[..], b"\x30", b"\x30\x82\xff\xff", b"\x30\x89\x01\x01\x01\x01\x01\x01\x01\x01\x01", &[0x30; 64]]
        {
            assert_eq!(tls_server_end_point(der), None);
        }
    }
}
