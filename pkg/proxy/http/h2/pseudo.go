package h2

// pseudo names a pseudo-header field (RFC 9113 section 8.3, RFC 8441 section 4).
type pseudo uint8

const (
	notPseudo pseudo = iota
	pseudoAuthority
	pseudoMethod
	pseudoPath
	pseudoScheme
	pseudoStatus
	pseudoProtocol
	pseudoUnknown // begins with a colon
	pseudoCount
)

// pseudoNames is indexed by pseudo; read only.
var pseudoNames = [pseudoCount]string{
	pseudoAuthority: ":authority", pseudoMethod: ":method", pseudoPath: ":path", pseudoScheme: ":scheme",
	pseudoStatus: ":status", pseudoProtocol: ":protocol",
}

func pseudoOf(name string) pseudo {
	if name == "" || name[0] != ':' {
		return notPseudo
	}
	for p := pseudoAuthority; p < pseudoUnknown; p++ {
		if pseudoNames[p] == name {
			return p
		}
	}
	return pseudoUnknown
}
