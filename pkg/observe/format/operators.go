package format

// operators is the language, by name; read only. Source: Envoy v1.32 "Access logging", command operators.
var operators = merge(timeOperators(), streamOperators(), addressOperators(), messageOperators(), tlsOperators(), metadataOperators(), dnsOperators())

func merge(sets ...map[string]operator) map[string]operator {
	all := make(map[string]operator)
	for _, set := range sets {
		for name, op := range set {
			all[name] = op
		}
	}
	return all
}

func text(f appender) operator   { return operator{value: f} }
func number(f appender) operator { return operator{value: f, kind: kindNumber} }

// never is for facts that a stream of weir does not have (QUIC counters, traces, the local certificate).
func never(dst []byte, _ *Context) ([]byte, bool) { return dst, false }

func appendNonEmpty(dst []byte, s string) ([]byte, bool) { return append(dst, s...), s != "" }
