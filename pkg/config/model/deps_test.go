package model

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestListenerNeeds(t *testing.T) {
	ads, file := &Source{Kind: SourceADS}, &Source{Kind: SourcePath, Path: "/sds"}
	hcm := func(name string, inline *RouteConfig) *FilterChain {
		return &FilterChain{Filters: []*NetworkFilter{
			{Config: "something else"}, {Config: &HTTPConnectionManager{StatPrefix: "x", RouteConfigName: name, RouteSource: ads, InlineRoutes: inline}},
		}}
	}
	secured := hcm("b", nil)
	secured.TLS = &DownstreamTLS{TLSParams: TLSParams{
		Certificates: []CertificateRef{{Secret: "z", Source: file}, {}, {Secret: "static"}, {Secret: "z", Source: file}},
		Validation:   &ValidationRef{Secret: "ca", Source: ads},
	}}
	l := &Listener{
		FilterChains:       []*FilterChain{secured, hcm("b", nil), hcm("inline", &RouteConfig{})},
		DefaultFilterChain: hcm("a", nil),
	}
	if diff := cmp.Diff([]RouteReference{{Name: "b", Source: ads, StatPrefix: "x"}, {Name: "a", Source: ads, StatPrefix: "x"}}, l.RouteReferences()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]SecretReference{{"z", file, SecretCertificate}, {"static", nil, SecretCertificate}, {"ca", ads, SecretValidation}}, l.SecretReferences()); diff != "" {
		t.Error(diff)
	}
	if len(l.FilterChains) != 3 {
		t.Error("the listener was written to")
	}
	empty := &Listener{}
	if len(empty.RouteReferences())+len(empty.SecretReferences()) != 0 {
		t.Error("an empty listener needs something")
	}
}

func TestClusterNeeds(t *testing.T) {
	with := func(name string) *UpstreamTLS {
		return &UpstreamTLS{TLSParams: TLSParams{Certificates: []CertificateRef{{Secret: name}}}}
	}
	c := &Cluster{Type: ClusterEDS, TLS: with("b"), TransportSocketMatches: []TransportSocketMatch{{}, {TLS: with("a")}}}
	if diff := cmp.Diff([]SecretReference{{Name: "b", Kind: SecretCertificate}, {Name: "a", Kind: SecretCertificate}}, c.SecretReferences()); diff != "" {
		t.Error(diff)
	}
	if !c.NeedsEDS() || (&Cluster{}).NeedsEDS() {
		t.Error("NeedsEDS is wrong")
	}
	if !APIDeltaGRPC.Delta() || !APIAggregatedDeltaGRPC.Delta() || APIGRPC.Delta() || APIREST.Delta() {
		t.Error("Delta is wrong")
	}
}
