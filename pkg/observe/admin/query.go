package admin

import "strings"

// query are the parameters of a request. As in Envoy the first of several values counts, a parameter need not have a value,
// "+" is a space, and an escape that is none stays as it is.
type query map[string]string

// parseQuery reads "a=b&c". It accepts everything.
func parseQuery(raw string) query {
	q := query{}
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		name = unescape(name)
		if _, seen := q[name]; !seen {
			q[name] = unescape(value)
		}
	}
	return q
}

// has tells whether the parameter is there, with or without a value.
func (q query) has(name string) bool {
	_, ok := q[name]
	return ok
}

func unescape(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			out = append(out, ' ')
		case c == '%' && i+2 < len(s) && hex(s[i+1]) < 16 && hex(s[i+2]) < 16:
			out = append(out, hex(s[i+1])<<4|hex(s[i+2]))
			i += 2
		default:
			out = append(out, c)
		}
	}
	return string(out)
}

// hex is the value of a hexadecimal digit, 16 for any other byte.
func hex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}
