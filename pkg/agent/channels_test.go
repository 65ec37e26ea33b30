package agent

import (
	"context"
	"testing"

	"google.golang.org/grpc"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// streamDesc is of a stream both ways, as discovery streams are.
var streamDesc = &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}

func TestChannelsLiveAsLongAsTheirStreams(t *testing.T) {
	a, store := &Agent{capture: newCapture(nil, nil)}, stats.NewStore()
	a.channels = newChannels(a)
	c := &channel{owner: a.channels, service: model.GRPCService{Google: model.GoogleGRPC{Target: "ipv4:127.0.0.1:1", StatPrefix: "x"}}, key: "k", stats: store.Root().Scope("grpc.x")}
	one, release, err := c.use()
	if err != nil {
		t.Fatal(err)
	}
	two, again, err := c.use()
	if err != nil || one != two {
		t.Fatalf("two channels, %v", err)
	}
	release()
	release() // once more changes nothing
	if len(a.channels.shared) != 1 {
		t.Error("the channel is gone while a stream uses it")
	}
	again()
	if len(a.channels.shared) != 0 {
		t.Error("the channel outlives its streams")
	}
	// Nobody listens there: the stream fails at once, and leaves no channel that would wait before it tries again.
	if _, err := c.NewStream(context.WithoutCancel(t.Context()), streamDesc, "/x.Y/Z"); err == nil {
		t.Error("a stream to nowhere")
	}
	if len(a.channels.shared) != 0 {
		t.Error("a channel that failed is kept")
	}
	if n := store.Root().Counter("grpc.x.streams_total").Value(); n != 1 {
		t.Errorf("streams_total = %d", n)
	}
	if n := store.Root().Counter("grpc.x.streams_closed_14").Value(); n != 1 { // Unavailable
		t.Errorf("streams_closed_14 = %d", n)
	}
}

func TestGoogleTargets(t *testing.T) {
	a := &Agent{capture: newCapture(nil, nil)}
	for target, want := range map[string]string{
		"dns:///h:1": "dns:///h:1", "h:1": "h:1", "unix:/x": "unix:/x", "ipv4:10.0.0.1:2,10.0.0.2:3": "passthrough:///10.0.0.1:2", "ipv6:[::1]:2": "passthrough:///[::1]:2",
	} {
		if got, _ := a.googleTarget(target); got != want {
			t.Errorf("%s: %s, want %s", target, got, want)
		}
	}
}

func TestGoogleTLSNeedsGoodPEM(t *testing.T) {
	for _, g := range []model.GoogleGRPC{{Roots: "nonsense"}, {CertChain: "nonsense", PrivateKey: "x"}} {
		if _, err := googleTLS(&g); err == nil {
			t.Errorf("accepted %+v", g)
		}
	}
}
