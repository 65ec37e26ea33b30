package format

import "strconv"

// DNSQuery is a question for a name and what became of it.
type DNSQuery struct {
	// Name, Type (such as AAAA) and Class are empty when the question could not be read.
	Name, Type, Class string
	// Answers is how many records were answered.
	Answers int
	// Parsed tells that the question could be read.
	Parsed bool
}

// dnsOperators are those of the DNS filter's access log (Envoy docs, DnsFilterConfig.access_log). RESPONSE_CODE is among the others.
func dnsOperators() map[string]operator {
	of := func(field func(*DNSQuery) string) operator {
		return text(func(dst []byte, c *Context) ([]byte, bool) {
			if c.DNS == nil {
				return dst, false
			}
			return appendNonEmpty(dst, field(c.DNS))
		})
	}
	return map[string]operator{
		"QUERY_NAME":  of(func(q *DNSQuery) string { return q.Name }),
		"QUERY_TYPE":  of(func(q *DNSQuery) string { return q.Type }),
		"QUERY_CLASS": of(func(q *DNSQuery) string { return q.Class }),
		"ANSWER_COUNT": number(func(dst []byte, c *Context) ([]byte, bool) {
			if c.DNS == nil {
				return dst, false
			}
			return strconv.AppendInt(dst, int64(c.DNS.Answers), 10), true
		}),
		"PARSE_STATUS": of(func(q *DNSQuery) string { return strconv.FormatBool(q.Parsed) }),
	}
}
