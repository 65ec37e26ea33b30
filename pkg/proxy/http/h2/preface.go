package h2

// preface is what a client of HTTP/2 sends first (RFC 9113 section 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// IsPreface tells whether b begins with the client's connection preface. needMore means that b is a proper prefix of it.
func IsPreface(b []byte) (match, needMore bool) {
	if len(b) >= len(preface) {
		return string(b[:len(preface)]) == preface, false
	}
	return false, string(b) == preface[:len(b)]
}
