//! When a certificate ends. rustls checks that of its peers only, and tells nobody of its own.

use simple_asn1::{ASN1Block, from_der};

/// Seconds since 1970 of `notAfter` in RFC 5280's `Certificate { TBSCertificate { version?, serial, algorithm, issuer, validity, … } }`.
pub fn ends(certificate: &[u8]) -> Option<i64> {
    let blocks = from_der(certificate).ok()?;
    let [ASN1Block::Sequence(_, certificate), ..] = blocks.as_slice() else { return None };
    let [ASN1Block::Sequence(_, signed), ..] = certificate.as_slice() else { return None };
    // Algorithm, issuer and validity are its first sequences; what is before them is a number, or tagged.
    let validity = signed.iter().filter(|block| matches!(block, ASN1Block::Sequence(..))).nth(2)?;
    let ASN1Block::Sequence(_, validity) = validity else { return None };
    match validity.get(1)? {
        ASN1Block::UTCTime(_, time) | ASN1Block::GeneralizedTime(_, time) => Some(time.assume_utc().unix_timestamp()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_read_before_and_after_2050() {
        for (year, seconds) in [(2031, 1_924_992_000), (2061, 2_871_763_200)] {
            let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
            parameters.not_after = rcgen::date_time_ymd(year, 1, 1);
            let certificate = parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
            assert_eq!(ends(certificate.der()), Some(seconds), "{year}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        for bytes in [&b""[..], b"\x30", b"\x30\x80", b"hello", &[0x30; 4096]] {
            assert_eq!(ends(bytes), None);
        }
    }
}
