package e2e

import "strings"

// refused is a request that weir answers itself, with this status and for this reason, and of which nothing may reach a
// backend. "~" stands for CRLF.
type refused struct {
	name, in string
	status   int
	reason   string
	details  string
}

const (
	codecError = "http1.codec_error"
	badChars   = "http1.invalid_characters"
	badURL     = "http1.invalid_url"
	badTE      = "http1.invalid_transfer_encoding"
	both       = "http1.content_length_and_chunked_not_allowed"
	tooMany    = "http1.too_many_headers"
	tooLarge   = "http1.headers_too_large"
	authority  = "http.invalid_authority"
)

// framingCases are combinations of Content-Length and Transfer-Encoding.
var framingCases = []refused{
	{"CL.TE", "POST / HTTP/1.1~Host: x~Content-Length: 6~Transfer-Encoding: chunked~~0~~G", 400, "cl_and_te", both},
	{"TE.CL", "POST / HTTP/1.1~Host: x~Transfer-Encoding: chunked~Content-Length: 4~~5c~GPOST / HTTP/1.1~~0~~", 400, "cl_and_te", both},
	{"CL: 0 and TE", "POST / HTTP/1.1~Host: x~Content-Length: 0~Transfer-Encoding: chunked~~0~~", 400, "cl_and_te", both},
	{"TE.TE with space before colon", "POST / HTTP/1.1~Host: x~Content-Length: 4~Transfer-Encoding : chunked~~0~~", 400, "space_before_colon", codecError},
	{"TE.TE with tab before colon", "POST / HTTP/1.1~Host: x~Content-Length: 4~Transfer-Encoding\t: chunked~~0~~", 400, "space_before_colon", codecError},
	{"TE with vertical tab", "POST / HTTP/1.1~Host: x~Transfer-Encoding: \vchunked~~0~~", 400, "bad_header_value", badChars},
	{"TE with form feed", "POST / HTTP/1.1~Host: x~Transfer-Encoding: chunked\f~~0~~", 400, "bad_header_value", badChars},
	{"TE: chunked, identity", "POST / HTTP/1.1~Host: x~Transfer-Encoding: chunked, identity~~0~~", 400, "te_not_last_chunked", badTE},
	{"TE: identity, chunked", "POST / HTTP/1.1~Host: x~Transfer-Encoding: identity, chunked~~0~~", 501, "unknown_transfer_encoding", badTE},
	{"TE: identity", "POST / HTTP/1.1~Host: x~Transfer-Encoding: identity~~", 501, "unknown_transfer_encoding", badTE},
	{"TE: xchunked", "POST / HTTP/1.1~Host: x~Transfer-Encoding: xchunked~~0~~", 501, "unknown_transfer_encoding", badTE},
	{"TE: chunked;q=1", "POST / HTTP/1.1~Host: x~Transfer-Encoding: chunked;q=1~~0~~", 501, "unknown_transfer_encoding", badTE},
	{"TE: quoted", "POST / HTTP/1.1~Host: x~Transfer-Encoding: \"chunked\"~~0~~", 501, "unknown_transfer_encoding", badTE},
	{"TE: chunked and a control character", "POST / HTTP/1.1~Host: x~Transfer-Encoding: chunked\x01~~0~~", 400, "bad_header_value", badChars},
	{"TE: gzip, chunked", "POST / HTTP/1.1~Host: x~Transfer-Encoding: gzip, chunked~~0~~", 501, "unknown_transfer_encoding", badTE},
	{"TE: chunked, chunked", "POST / HTTP/1.1~Host: x~Transfer-Encoding: chunked, chunked~~0~~", 400, "te_not_last_chunked", badTE},
	{"TE: chunked,", "POST / HTTP/1.1~Host: x~Transfer-Encoding: chunked,,x~~0~~", 400, "te_not_last_chunked", badTE},
	{"TE: ,chunked", "POST / HTTP/1.1~Host: x~Transfer-Encoding: ,chunked~~0~~", 501, "unknown_transfer_encoding", badTE},
	{"TE twice", "POST / HTTP/1.1~Host: x~Transfer-Encoding: chunked~Transfer-Encoding: chunked~~0~~", 400, "te_not_last_chunked", badTE},
	{"TE twice, the second other", "POST / HTTP/1.1~Host: x~Transfer-Encoding: chunked~Transfer-encoding: cow~~0~~", 400, "te_not_last_chunked", badTE},
	{"TE twice, the first other", "POST / HTTP/1.1~Host: x~Transfer-Encoding: cow~Transfer-Encoding: chunked~~0~~", 501, "unknown_transfer_encoding", badTE},
	{"TE empty", "POST / HTTP/1.1~Host: x~Transfer-Encoding:~Content-Length: 4~~abcd", 400, "empty_transfer_encoding", badTE},
	{"TE folded", "POST / HTTP/1.1~Host: x~Transfer-Encoding:~ chunked~~0~~", 400, "empty_transfer_encoding", badTE},
	{"TE in a fold of another field", "POST / HTTP/1.1~Host: x~X: y~ Transfer-Encoding: chunked~Content-Length: 4~~0~~", 400, "obs_fold", codecError},
	{"TE with NUL", "POST / HTTP/1.1~Host: x~Transfer-Encoding: chunked\x00~~0~~", 400, "bad_header_value", badChars},
	{"TE behind a bare line feed", "POST / HTTP/1.1~Host: x~X: y\nTransfer-Encoding: chunked~Content-Length: 4~~0~~", 400, "bare_lf", codecError},
	{"TE behind a bare carriage return", "POST / HTTP/1.1~Host: x~X: y\rTransfer-Encoding: chunked~Content-Length: 4~~0~~", 400, "bad_header_value", badChars},
	{"TE in HTTP/1.0", "POST / HTTP/1.0~Host: x~Transfer-Encoding: chunked~~0~~", 426, "http10_not_accepted", "low_version"},
	{"CL list of equals", "POST / HTTP/1.1~Host: x~Content-Length: 5, 5~~abcde", 400, "bad_content_length", codecError},
	{"CL list", "POST / HTTP/1.1~Host: x~Content-Length: 5, 6~~abcde", 400, "bad_content_length", codecError},
	{"CL twice, equal", "POST / HTTP/1.1~Host: x~Content-Length: 5~Content-Length: 5~~abcde", 400, "multiple_content_lengths", codecError},
	{"CL twice", "POST / HTTP/1.1~Host: x~Content-Length: 5~content-length: 0~~abcde", 400, "multiple_content_lengths", codecError},
	{"CL with plus", "POST / HTTP/1.1~Host: x~Content-Length: +5~~abcde", 400, "bad_content_length", codecError},
	{"CL with minus", "POST / HTTP/1.1~Host: x~Content-Length: -5~~abcde", 400, "bad_content_length", codecError},
	{"CL in hexadecimal", "POST / HTTP/1.1~Host: x~Content-Length: 0x5~~abcde", 400, "bad_content_length", codecError},
	{"CL beyond 63 bits", "POST / HTTP/1.1~Host: x~Content-Length: 9223372036854775808~~", 400, "bad_content_length", codecError},
	{"CL beyond 64 bits", "POST / HTTP/1.1~Host: x~Content-Length: 18446744073709551621~~abcde", 400, "bad_content_length", codecError},
	{"CL with a space inside", "POST / HTTP/1.1~Host: x~Content-Length: 1 5~~abcde", 400, "bad_content_length", codecError},
	{"CL empty", "POST / HTTP/1.1~Host: x~Content-Length: ~~abcde", 400, "bad_content_length", codecError},
	{"CL with a fraction", "POST / HTTP/1.1~Host: x~Content-Length: 5.0~~abcde", 400, "bad_content_length", codecError},
	{"CL with an underscore", "POST / HTTP/1.1~Host: x~Content-Length: 1_0~~abcde", 400, "bad_content_length", codecError},
	{"CL with letters behind", "POST / HTTP/1.1~Host: x~Content-Length: 5abc~~abcde", 400, "bad_content_length", codecError},
	{"CL with a space before the colon", "POST / HTTP/1.1~Host: x~Content-Length : 5~~abcde", 400, "space_before_colon", codecError},
	{"CL with NUL", "POST / HTTP/1.1~Host: x~Content-Length: 5\x00~~abcde", 400, "bad_header_value", badChars},
	{"CONNECT with CL", "CONNECT a:1 HTTP/1.1~Host: a:1~Content-Length: 5~~abcde", 400, "cl_in_connect", "http1.content_length_not_allowed"},
	{"CONNECT with TE", "CONNECT a:1 HTTP/1.1~Host: a:1~Transfer-Encoding: chunked~~0~~", 400, "te_in_connect", "http1.transfer_encoding_not_allowed"},
}

// syntaxCases are heads that are not in order.
var syntaxCases = []refused{
	{"folded field", "GET / HTTP/1.1~Host: x~A: b~ c~~", 400, "obs_fold", codecError},
	{"field folded with tab", "GET / HTTP/1.1~Host: x~A: b~\tc~~", 400, "obs_fold", codecError},
	{"fold of the request line", "GET / HTTP/1.1~ Host: x~~", 400, "obs_fold", codecError},
	{"bare LF behind the request line", "GET / HTTP/1.1\nHost: x~~", 400, "bare_lf", codecError},
	{"bare LF all over", "GET / HTTP/1.1\nHost: x\n\n", 400, "bare_lf", codecError},
	{"bare LF in a field", "GET / HTTP/1.1~Host: x~A: b\nC: d~~", 400, "bare_lf", codecError},
	{"bare LF before the end", "GET / HTTP/1.1~Host: x~\n~~", 400, "bare_lf", codecError},
	{"bare CR in the target", "GET /\rx HTTP/1.1~Host: x~~", 400, "bad_target", badURL},
	{"bare CR in a value", "GET / HTTP/1.1~Host: x~A: b\rc~~", 400, "bad_header_value", badChars},
	{"bare CR in a name", "GET / HTTP/1.1~Host: x~A\rB: c~~", 400, "bad_header_name", codecError},
	{"CR CR LF", "GET / HTTP/1.1~Host: x~A: b\r~~", 400, "bad_header_value", badChars},
	{"space before colon", "GET / HTTP/1.1~Host : x~~", 400, "space_before_colon", codecError},
	{"space in a name", "GET / HTTP/1.1~Host: x~A B: c~~", 400, "bad_header_name", codecError},
	{"NUL in a name", "GET / HTTP/1.1~Host: x~A\x00: c~~", 400, "bad_header_name", codecError},
	{"NUL in a value", "GET / HTTP/1.1~Host: x~A: \x00~~", 400, "bad_header_value", badChars},
	{"NUL in the target", "GET /\x00 HTTP/1.1~Host: x~~", 400, "bad_target", badURL},
	{"DEL in the target", "GET /\x7f HTTP/1.1~Host: x~~", 400, "bad_target", badURL},
	{"DEL in a value", "GET / HTTP/1.1~Host: x~A: 12345678\x7f~~", 400, "bad_header_value", badChars},
	{"escape in a value", "GET / HTTP/1.1~Host: x~A: 1234567\x1b[0m~~", 400, "bad_header_value", badChars},
	{"byte above ASCII in a name", "GET / HTTP/1.1~Host: x~\xc3\xa9: c~~", 400, "bad_header_name", codecError},
	{"parenthesis in a name", "GET / HTTP/1.1~Host: x~A(: c~~", 400, "bad_header_name", codecError},
	{"empty name", "GET / HTTP/1.1~Host: x~: c~~", 400, "empty_header_name", codecError},
	{"pseudo header as a field", "GET / HTTP/1.1~Host: x~:path: /b~~", 400, "empty_header_name", codecError},
	{"field without colon", "GET / HTTP/1.1~Host: x~A~~", 400, "no_colon", codecError},
	{"two hosts", "GET / HTTP/1.1~Host: x~Host: y~~", 400, "duplicate_host", codecError},
	{"two equal hosts", "GET / HTTP/1.1~Host: x~host: x~~", 400, "duplicate_host", codecError},
	{"no host", "GET / HTTP/1.1~A: b~~", 400, "missing_host", "missing_host_header"},
	{"empty host", "GET / HTTP/1.1~Host:~~", 400, "missing_host", "missing_host_header"},
	{"absolute form without Host", "GET http://x/ HTTP/1.1~~", 400, "missing_host", "missing_host_header"},
	{"path in the host", "GET / HTTP/1.1~Host: x/y~~", 400, "bad_host", authority},
	{"user in the host", "GET / HTTP/1.1~Host: a@x~~", 400, "bad_host", authority},
	{"space in the host", "GET / HTTP/1.1~Host: x y~~", 400, "bad_host", authority},
	{"query in the host", "GET / HTTP/1.1~Host: x?y~~", 400, "bad_host", authority},
	{"backslash in the host", "GET / HTTP/1.1~Host: x\\y~~", 400, "bad_host", authority},
	{"user in absolute form", "GET http://a@x/ HTTP/1.1~Host: x~~", 400, "bad_host", authority},
	{"other scheme", "GET ftp://x/ HTTP/1.1~Host: x~~", 400, "bad_scheme", "http1.invalid_scheme"},
	{"absolute form without host", "GET http:///a HTTP/1.1~Host: x~~", 400, "bad_target", badURL},
	{"method with a colon", "G:T / HTTP/1.1~Host: x~~", 400, "bad_method", codecError},
	{"method with NUL", "GE\x00T / HTTP/1.1~Host: x~~", 400, "bad_method", codecError},
	{"no method", " / HTTP/1.1~Host: x~~", 400, "bad_method", codecError},
	{"custom method", "SMUGGLE / HTTP/1.1~Host: x~~", 400, "unknown_method", codecError},
	{"lower-case method", "get / HTTP/1.1~Host: x~~", 400, "unknown_method", codecError},
	{"lower-case version", "GET / http/1.1~Host: x~~", 400, "bad_version", codecError},
	{"HTTP/1.2", "GET / HTTP/1.2~Host: x~~", 400, "bad_version", codecError},
	{"HTTP/2.0", "GET / HTTP/2.0~Host: x~~", 400, "bad_version", codecError},
	{"HTTP/11", "GET / HTTP/11~Host: x~~", 400, "bad_version", codecError},
	{"HTTP/1.1 and a space", "GET / HTTP/1.1 ~Host: x~~", 400, "bad_version", codecError},
	{"HTTP/1.0", "GET / HTTP/1.0~Host: x~~", 426, "http10_not_accepted", "low_version"},
	{"HTTP/0.9", "GET /~~", 400, "bad_request_line", codecError},
	{"two spaces", "GET  / HTTP/1.1~Host: x~~", 400, "bad_target", badURL},
	{"space in the target", "GET /a b HTTP/1.1~Host: x~~", 400, "bad_target", badURL},
	{"tabs in the request line", "GET\t/\tHTTP/1.1~Host: x~~", 400, "bad_method", codecError},
	{"relative target", "GET a HTTP/1.1~Host: x~~", 400, "bad_target", badURL},
	{"asterisk", "GET * HTTP/1.1~Host: x~~", 400, "bad_target", badURL},
	{"CONNECT without host", "CONNECT a:1 HTTP/1.1~~", 400, "missing_host", "missing_host_header"},
	{"CONNECT to a path", "CONNECT /a HTTP/1.1~Host: x~~", 400, "bad_connect_target", badURL},
	{"three empty lines first", "~~~GET / HTTP/1.1~Host: x~~", 400, "bad_method", codecError},
	{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03~~", 400, "bad_method", codecError},
	{"SSH", "SSH-2.0-OpenSSH_9.2~~", 400, "bad_method", codecError},
	{"unknown expectation", "POST / HTTP/1.1~Host: x~Expect: 200-ok~Content-Length: 1~~a", 417, "unknown_expectation", "http1.expectation_failed"},
	{"Connection names x-forwarded-for", "GET / HTTP/1.1~Host: x~Connection: close, X-Forwarded-For~~", 400, "nominated_forwarded", "http1.connection_header_rejected"},
	{"too many fields", "GET / HTTP/1.1~Host: x~" + strings.Repeat("a: b~", 100) + "~", 431, "too_many_headers", tooMany},
	{"too large a head", "GET / HTTP/1.1~Host: x~A: " + strings.Repeat("a", 61<<10) + "~~", 431, "headers_too_large", tooLarge},
	{"head that does not end", "GET / HTTP/1.1~Host: x~A: " + strings.Repeat("a", 61<<10), 431, "headers_too_large", tooLarge},
	{"too long a target", "GET /" + strings.Repeat("a", 61<<10), 431, "start_line_too_large", tooLarge},
}

// bodyCases are chunked bodies that go wrong behind a good head. The backend may have got the head and good chunks, but
// neither an end of the request nor anything behind the fault.
var bodyCases = []struct{ name, in, reason string }{
	{"no chunk size", "~abc~0~~", "bad_chunk_size"},
	{"chunk size with plus", "+3~abc~0~~", "bad_chunk_size"},
	{"chunk size with minus", "-3~abc~0~~", "bad_chunk_size"},
	{"chunk size with 0x", "0x3~abc~0~~", "bad_chunk_size"},
	{"chunk size with g", "g~abc~0~~", "bad_chunk_size"},
	{"chunk size beyond 64 bits", "10000000000000003~abc~0~~", "bad_chunk_size"},
	{"many zeros", "0000000000000000000003~abc~0~~", "bad_chunk_size"},
	{"space before the chunk size", " 3~abc~0~~", "bad_chunk_size"},
	{"space behind the chunk size", "3 ~abc~0~~", "bad_chunk_size"},
	{"bare LF behind the chunk size", "3\nabc~0~~", "bad_chunk_size"},
	{"bare LF in an extension", "3;a\nabc~0~~", "bad_chunk_size"},
	{"bare CR in an extension", "3;a\rb~abc~0~~", "bad_chunk_size"},
	{"NUL in an extension", "3;a=\x00~abc~0~~", "bad_chunk_size"},
	{"endless extension", "3;" + strings.Repeat("a", 5000), "chunk_line_too_long"},
	{"data longer than the chunk", "3~abcd~0~~", "bad_chunk_end"},
	{"bare LF behind data", "3~abc\n0~~", "bad_chunk_end"},
	{"data shorter than the chunk", "4~abc~0~~", "bad_chunk_end"},
	{"bare LF in trailers", "3~abc~0~a: b\n~~", "bare_lf"},
	{"folded trailer", "3~abc~0~a: b~ c~~", "obs_fold"},
	{"trailer with a space before the colon", "3~abc~0~a : b~~", "space_before_colon"},
	{"trailer with NUL", "3~abc~0~a: \x00~~", "bad_header_value"},
	{"too large trailers", "3~abc~0~a: " + strings.Repeat("a", 61<<10) + "~~", "trailers_too_large"},
	{"too many trailers", "3~abc~0~" + strings.Repeat("a: b~", 101) + "~", "too_many_headers"},
}

// passed are requests that are odd and are passed on, but only as what they are; want is all that the backend gets, in
// order, of them and of a request for /next behind each.
var passed = []struct{ name, in, want string }{
	{
		"request in a body with length", "POST / HTTP/1.1~Host: x~Content-Length: 42~~GET /smuggled HTTP/1.1~Host: x~a: 12~~",
		"POST / HTTP/1.1~host: x~content-length: 42~x-forwarded-proto: http~~GET /smuggled HTTP/1.1~Host: x~a: 12~~",
	},
	{
		"request in a chunk", "POST / HTTP/1.1~Host: x~Transfer-Encoding: chunked~~2a;a=\"b\"~GET /smuggled HTTP/1.1~Host: x~a: 12~~~0~~",
		"POST / HTTP/1.1~host: x~x-forwarded-proto: http~transfer-encoding: chunked~~2a~GET /smuggled HTTP/1.1~Host: x~a: 12~~~0~~",
	},
	{
		"GET with body", "GET / HTTP/1.1~Host: x~Content-Length: 3~~abc", "GET / HTTP/1.1~host: x~content-length: 3~x-forwarded-proto: http~~abc",
	},
	{
		"framing in trailers", "POST / HTTP/1.1~Host: x~Transfer-Encoding: chunked~~1~a~0~Content-Length: 5~Transfer-Encoding: x~Host: y~X-Forwarded-For: 1~Good: 1~~",
		"POST / HTTP/1.1~host: x~x-forwarded-proto: http~transfer-encoding: chunked~~1~a~0~good: 1~~",
	},
	{
		"hop by hop", "GET / HTTP/1.1~Host: x~Connection: keep-alive, a~A: b~Keep-Alive: 5~Proxy-Connection: x~TE: gzip, trailers~Upgrade: h2c~HTTP2-Settings: x~~",
		"GET / HTTP/1.1~host: x~te: trailers~x-forwarded-proto: http~connection: te~~",
	},
	{
		"upgrade with body", "POST / HTTP/1.1~Host: x~Connection: upgrade~Upgrade: websocket~Content-Length: 3~~abc",
		"POST / HTTP/1.1~host: x~content-length: 3~x-forwarded-proto: http~~abc",
	},
	{
		"absolute form and another Host", "GET http://y/a HTTP/1.1~Host: x~~", "GET /a HTTP/1.1~host: y~x-forwarded-proto: http~~",
	},
	{
		"two empty lines first", "~~GET / HTTP/1.1~Host: x~~", "GET / HTTP/1.1~host: x~x-forwarded-proto: http~~",
	},
	{
		"underscores", "GET / HTTP/1.1~Host: x~Content_Length: 5~Transfer_Encoding: chunked~~",
		"GET / HTTP/1.1~host: x~content_length: 5~transfer_encoding: chunked~x-forwarded-proto: http~~",
	},
}
