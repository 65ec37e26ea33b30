package protoyaml_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// addCorpus adds the files under testdata with one of the extensions.
func addCorpus(f *testing.F, extension string) {
	f.Helper()
	for _, folder := range []string{"testdata/good/", "testdata/bad/"} {
		entries, err := os.ReadDir(folder)
		if err != nil {
			f.Fatal(err)
		}
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), extension) {
				continue
			}
			src, err := os.ReadFile(folder + e.Name())
			if err != nil {
				f.Fatal(err)
			}
			f.Add(src)
		}
	}
}

// checkDecode holds what must be true of any input: no panic, an error that is
// a list of described problems, and a message that survives the round trip.
func checkDecode(t *testing.T, src []byte, file string) {
	var b bootstrapv3.Bootstrap
	_, err := protoyaml.Decode(src, file, &b, protoyaml.Options{})
	if err != nil {
		var list protoyaml.Errors
		if !errors.As(err, &list) || len(list) == 0 {
			t.Fatalf("error %T %v is not a list", err, err)
		}
		for _, e := range list {
			if e.Reason == "" || e.File != file {
				t.Fatalf("error without reason or file: %#v", e)
			}
		}
		return
	}
	text, err := protoyaml.Marshal(&b, "")
	if err != nil {
		t.Fatalf("decoded, but cannot be printed: %v", err)
	}
	var again bootstrapv3.Bootstrap
	if _, err := protoyaml.Decode(text, "again.json", &again, protoyaml.Options{}); err != nil {
		t.Fatalf("printed, but cannot be decoded: %v\n%s", err, text)
	}
	if !proto.Equal(&b, &again) && !strings.Contains(string(text), `"NaN"`) {
		t.Fatalf("the round trip changed the message:\n%v\n%v", &b, &again)
	}
	if _, err := protoyaml.ValidateMessage(&b, protoyaml.Options{}); err != nil {
		t.Fatalf("valid when decoded, but not as a message: %v", err)
	}
}

func FuzzDecodeYAML(f *testing.F) {
	addCorpus(f, ".yaml")
	f.Fuzz(func(t *testing.T, src []byte) { checkDecode(t, src, "fuzz.yaml") })
}

func FuzzDecodeJSON(f *testing.F) {
	addCorpus(f, ".json")
	f.Add([]byte(`{"node":{"metadata":{"a":[1e3,-0.5,true,null,"\u00e9\ud83d\ude00"]}}}`))
	f.Fuzz(func(t *testing.T, src []byte) { checkDecode(t, src, "fuzz.json") })
}

func FuzzDecodeResources(f *testing.F) {
	addCorpus(f, ".yaml")
	f.Add([]byte("resources:\n- {'@type': " + clusterURL + ", name: a}\n---\n- {'@type': " + clusterURL + ", name: b}\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		resources, _, err := protoyaml.DecodeResources(src, "fuzz.yaml", protoyaml.Options{AllowUnknown: true})
		for _, r := range resources {
			if r.Message == nil {
				t.Fatalf("resource without message; error %v", err)
			}
		}
	})
}

func FuzzValidateMessage(f *testing.F) {
	var b bootstrapv3.Bootstrap
	if _, err := protoyaml.DecodeFile("testdata/good/typed_struct.yaml", &b, protoyaml.Options{}); err != nil {
		f.Fatal(err)
	}
	raw, err := proto.Marshal(&b)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, src []byte) {
		var b bootstrapv3.Bootstrap
		if proto.Unmarshal(src, &b) == nil {
			_, _ = protoyaml.ValidateMessage(&b, protoyaml.Options{})
		}
	})
}

// largeConfig returns about 5 MB of bootstrap configuration.
func largeConfig() []byte {
	var b strings.Builder
	b.WriteString("static_resources:\n  clusters:\n")
	for i := 0; b.Len() < 5<<20; i++ {
		fmt.Fprintf(&b, `  - name: cluster-%d
    connect_timeout: 0.25s
    type: strict_dns
    lb_policy: ROUND_ROBIN
    circuit_breakers: {thresholds: [{max_connections: 100, max_requests: 1000}]}
    load_assignment:
      cluster_name: cluster-%d
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: backend-%d, port_value: 80}}}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {max_concurrent_streams: 100}}
`, i, i, i)
	}
	return []byte(b.String())
}

func BenchmarkDecodeYAML5MB(b *testing.B) { benchmarkDecode(b, largeConfig(), "large.yaml") }

func BenchmarkDecodeJSON5MB(b *testing.B) {
	var m bootstrapv3.Bootstrap
	if _, err := protoyaml.Decode(largeConfig(), "large.yaml", &m, protoyaml.Options{}); err != nil {
		b.Fatal(err)
	}
	src, err := protoyaml.Marshal(&m, " ")
	if err != nil {
		b.Fatal(err)
	}
	benchmarkDecode(b, src, "large.json")
}

func benchmarkDecode(b *testing.B, src []byte, file string) {
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		var m bootstrapv3.Bootstrap
		if _, err := protoyaml.Decode(src, file, &m, protoyaml.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
