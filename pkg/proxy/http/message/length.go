package message

// ParseLength reads a value of Content-Length: digits alone that fit an int64 (RFC 9110 section 8.6). A list, a sign or white space is
// not one, so that no two readers of a message can differ about its end.
func ParseLength(s string) (n int64, ok bool) {
	if s == "" || len(s) > 19 {
		return 0, false
	}
	for i := range len(s) {
		d := s[i] - '0'
		if d > 9 {
			return 0, false
		}
		if n = n*10 + int64(d); n < 0 {
			return 0, false
		}
	}
	return n, true
}
