package h1

import (
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"strings"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// HTTP/2 opens a WebSocket without the key and its answer that HTTP/1.1 insists on (RFC 8441 section 5). Where one of the
// two sides is HTTP/2, weir stands in for it on the other.
const (
	webSocketKey    = "sec-websocket-key"
	webSocketAccept = "sec-websocket-accept"
	// webSocketID is what a server adds to the key (RFC 6455 section 1.3).
	webSocketID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
)

// wantsKey tells whether a request opens a WebSocket and has no key, since its client speaks HTTP/2.
func wantsKey(r *message.Request) bool {
	if !strings.EqualFold(r.Protocol, "websocket") {
		return false
	}
	_, has := r.Headers.Lookup(webSocketKey)
	return !has
}

// newWebSocketKey is a nonce of 16 bytes (RFC 6455 section 4.1).
func newWebSocketKey() string {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails (crypto/rand)
	return base64.StdEncoding.EncodeToString(nonce[:])
}

// missingAccept is the proof that the client of an opened WebSocket waits for, "" when it has none to wait for, or has it.
func missingAccept(req *message.Request, resp *message.Response) string {
	if !strings.EqualFold(req.Protocol, "websocket") {
		return ""
	}
	key, asked := req.Headers.Lookup(webSocketKey)
	if _, told := resp.Headers.Lookup(webSocketAccept); !asked || told {
		return ""
	}
	sum := sha1.Sum([]byte(key + webSocketID))
	return base64.StdEncoding.EncodeToString(sum[:])
}
