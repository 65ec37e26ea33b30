package translate

import (
	"fmt"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// bigStruct has enough keys that two serialisations without order hardly ever agree.
func bigStruct(t *testing.T, last string) *structpb.Struct {
	t.Helper()
	m := map[string]any{"last": last}
	for i := range 32 {
		m[fmt.Sprint("key", i)] = i
	}
	s, err := structpb.NewStruct(m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestHashFollowsContent(t *testing.T) {
	tr := testTranslator(t)
	cluster := func(last string) *clusterv3.Cluster {
		inner, err := proto.MarshalOptions{}.Marshal(bigStruct(t, last))
		if err != nil {
			t.Fatal(err)
		}
		packed := &anypb.Any{TypeUrl: "type.googleapis.com/google.protobuf.Struct", Value: inner}
		return &clusterv3.Cluster{
			Name:                          "c",
			Metadata:                      &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"m": bigStruct(t, "x")}},
			TypedExtensionProtocolOptions: map[string]*anypb.Any{"a": packed, "b": packed},
		}
	}
	want := tr.Hash(cluster("x"))
	for range 20 {
		if got := tr.Hash(cluster("x")); got != want {
			t.Fatalf("equal content has hashes %x and %x", want, got)
		}
	}
	if tr.Hash(cluster("y")) == want {
		t.Error("a change inside an Any does not change the hash")
	}
	if tr.Hash(cluster("x"), 1) == want {
		t.Error("the extra bytes do not change the hash")
	}
}

func TestSecretHashFollowsFiles(t *testing.T) {
	content := "one"
	tr, err := New(Options{ReadFile: func(string) ([]byte, error) { return []byte(content), nil }})
	if err != nil {
		t.Fatal(err)
	}
	secret := &tlsv3.Secret{Name: "s", Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{
		Secret: &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: "f"}},
	}}}
	first, _, err := tr.Secret(secret, Meta{})
	if err != nil || string(first.Generic) != "one" || len(first.Files) != 1 || first.Files[0] != "f" {
		t.Fatalf("secret %+v, %v", first, err)
	}
	content = "two"
	second, _, err := tr.Secret(secret, Meta{})
	if err != nil || second.Hash == first.Hash {
		t.Errorf("the hash stays when the file changes (%v)", err)
	}
}
