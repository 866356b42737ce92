//! The dictionaries that header blocks are compressed with, one for SPDY/2 and one for its successors (draft 3,
//! 2.6.10.1).

use super::frame::Version;

/// The dictionary of a version, and its Adler-32 sum, by which a zlib stream names it.
pub(super) fn dictionary(version: Version) -> (&'static [u8], u32) {
    match version {
        Version::V2 => (V2, 0xdfa2_51b2),
        Version::V3 | Version::V31 => (&V3, 0xe3c6_a7c2),
    }
}

/// With the NUL at its end, which the first implementation took along.
const V2: &[u8] = b"\
    optionsgetheadpostputdeletetraceacceptaccept-charsetaccept-encodingaccept-languageauthorizationexpectfromhosti\
    f-modified-sinceif-matchif-none-matchif-rangeif-unmodifiedsincemax-forwardsproxy-authorizationrangerefererteus\
    er-agent100101200201202203204205206300301302303304305306307400401402403404405406407408409410411412413414415416\
    417500501502503504505accept-rangesageetaglocationproxy-authenticatepublicretry-afterservervarywarningwww-authe\
    nticateallowcontent-basecontent-encodingcache-controlconnectiondatetrailertransfer-encodingupgradeviawarningco\
    ntent-languagecontent-lengthcontent-locationcontent-md5content-rangecontent-typeetagexpireslast-modifiedset-co\
    okieMondayTuesdayWednesdayThursdayFridaySaturdaySundayJanFebMarAprMayJunJulAugSepOctNovDecchunkedtext/htmlimag\
    e/pngimage/jpgimage/gifapplication/xmlapplication/xhtmltext/plainpublicmax-agecharset=iso-8859-1utf-8gzipdefla\
    teHTTP/1.1statusversionurl\0";

/// Names and values as a header block of SPDY/3 has them: each behind its length in four bytes.
const V3_WORDS: [&str; 65] = [
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
];

/// What follows without lengths.
const V3_REST: &str = "\
    100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritativ\
    e Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 I\
    nternal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec \
    00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xm\
    l,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=\
    iso-8859-1,utf-,*,enq=0.";

const V3: [u8; 1423] = {
    let mut bytes = [0; 1423];
    let (mut at, mut word) = (0, 0);
    while word < V3_WORDS.len() {
        let text = V3_WORDS[word].as_bytes();
        // None is longer than one byte says.
        bytes[at + 3] = text.len() as u8;
        at = put(&mut bytes, at + 4, text);
        word += 1;
    }
    assert!(put(&mut bytes, at, V3_REST.as_bytes()) == bytes.len());
    bytes
};

const fn put(bytes: &mut [u8; 1423], at: usize, text: &[u8]) -> usize {
    let mut i = 0;
    while i < text.len() {
        bytes[at + i] = text[i];
        i += 1;
    }
    at + i
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1950, 8.2.
    fn adler32(bytes: &[u8]) -> u32 {
        let (low, high) = bytes.iter().fold((1_u32, 0_u32), |(low, high), byte| {
            let low = (low + u32::from(*byte)) % 65521;
            (low, (high + low) % 65521)
        });
        high << 16 | low
    }

    #[test]
    fn the_dictionaries_have_the_sums_that_everybody_expects() {
        for version in Version::ALL {
            let (bytes, sum) = dictionary(version);
            assert_eq!(adler32(bytes), sum, "{version}");
        }
        assert_eq!((V2.len(), &V3[..11]), (907, &b"\0\0\0\x07options"[..]));
    }
}
