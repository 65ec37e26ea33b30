package h1

import (
	"testing"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// TestWebSocketProof has the example of RFC 6455 section 1.3.
func TestWebSocketProof(t *testing.T) {
	for name, tc := range map[string]struct {
		protocol, key, told, want string
	}{
		"the host says nothing": {"websocket", "dGhlIHNhbXBsZSBub25jZQ==", "", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
		"the host says it":      {"WebSocket", "dGhlIHNhbXBsZSBub25jZQ==", "x", ""},
		"nobody asks":           {"websocket", "", "", ""},
		"another protocol":      {"other", "dGhlIHNhbXBsZSBub25jZQ==", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			req, resp := &message.Request{Protocol: tc.protocol}, &message.Response{}
			if tc.key != "" {
				req.Headers.Add(webSocketKey, tc.key)
			}
			if tc.told != "" {
				resp.Headers.Add(webSocketAccept, tc.told)
			}
			if got := missingAccept(req, resp); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if got, want := wantsKey(req), tc.protocol != "other" && tc.key == ""; got != want {
				t.Errorf("wants a key: %t, want %t", got, want)
			}
		})
	}
	if a, b := newWebSocketKey(), newWebSocketKey(); a == b || len(a) != 24 {
		t.Errorf("keys %q and %q", a, b)
	}
}
