package h2

import "github.com/weir-proxy/weir/pkg/proxy/http/message"

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

// staticLen is the number of entries of the static table; its indexes begin with 1.
const staticLen = 61

// staticPairs is the static table (RFC 7541 appendix A); read only.
var staticPairs = [staticLen][2]string{
	{":authority"}, {":method", "GET"}, {":method", "POST"}, {":path", "/"}, {":path", "/index.html"},
	{":scheme", "http"}, {":scheme", "https"}, {":status", "200"}, {":status", "204"}, {":status", "206"},
	{":status", "304"}, {":status", "400"}, {":status", "404"}, {":status", "500"}, {"accept-charset"},
	{"accept-encoding", "gzip, deflate"}, {"accept-language"}, {"accept-ranges"}, {"accept"},
	{"access-control-allow-origin"}, {"age"}, {"allow"}, {"authorization"}, {"cache-control"},
	{"content-disposition"}, {"content-encoding"}, {"content-language"}, {"content-length"}, {"content-location"},
	{"content-range"}, {"content-type"}, {"cookie"}, {"date"}, {"etag"}, {"expect"}, {"expires"}, {"from"}, {"host"},
	{"if-match"}, {"if-modified-since"}, {"if-none-match"}, {"if-range"}, {"if-unmodified-since"}, {"last-modified"},
	{"link"}, {"location"}, {"max-forwards"}, {"proxy-authenticate"}, {"proxy-authorization"}, {"range"}, {"referer"},
	{"refresh"}, {"retry-after"}, {"server"}, {"set-cookie"}, {"strict-transport-security"}, {"transfer-encoding"},
	{"user-agent"}, {"vary"}, {"via"}, {"www-authenticate"},
}

// staticFields is the static table as the decoder gives it out; index 0 is not used. Read only.
var staticFields = func() (t [staticLen + 1]field) {
	for i, p := range staticPairs {
		t[i+1] = newField(p[0], p[1])
	}
	return t
}()

// Indexes of names in the static table by what the encoder has; 0 is none. Read only.
var (
	staticByID = func() (t [256]uint8) {
		for i := staticLen; i > 0; i-- {
			if f := &staticFields[i]; f.ID != message.Other {
				t[f.ID] = uint8(i)
			}
		}
		return t
	}()
	staticByPseudo = func() (t [pseudoCount]uint8) {
		for i := staticLen; i > 0; i-- {
			t[staticFields[i].pseudo] = uint8(i)
		}
		t[notPseudo] = 0
		return t
	}()
	staticByName = func() map[string]uint8 {
		t := make(map[string]uint8)
		for i := staticLen; i > 0; i-- {
			if f := &staticFields[i]; f.ID == message.Other && f.pseudo == notPseudo {
				t[f.Name] = uint8(i)
			}
		}
		return t
	}()
)
