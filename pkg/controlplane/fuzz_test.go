package controlplane

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	subscription "github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"
)

// Whatever a directory holds, it is served in full or refused with the name of the file; what was served stays.
func FuzzDirectory(f *testing.F) {
	f.Add("a.yaml", clusterYAML("a"), "b.json", `{"resources": []}`)
	f.Add("g/a.yaml", endpointsA, "_shared/b.yaml", clusterA)
	f.Add("a.pb_text", `resources { type_url: "type.googleapis.com/envoy.config.cluster.v3.Cluster" }`, "b.pb", "\x12\x00")
	f.Add("a.yaml", `{"@type": `+wrapperType+`, name: r/h, aliases: [x], resource: {"@type": type.googleapis.com/envoy.config.route.v3.VirtualHost, name: h, domains: ["*", "a.*"]}}`, "%zz/b.yaml", "")
	f.Fuzz(func(t *testing.T, name1, content1, name2, content2 string) {
		dir := t.TempDir()
		for name, content := range map[string]string{name1: content1, name2: content2} {
			if !filepath.IsLocal(name) || len(name) > 100 || slices.Contains([]byte(name), 0) {
				t.Skip()
			}
			if !tryFill(filepath.Join(dir, name), content) {
				t.Skip()
			}
		}
		for _, by := range []string{"", "cluster"} {
			g, err := ParseGroupBy(by)
			if err != nil {
				t.Fatal(err)
			}
			s := New(Options{GroupBy: g})
			err = s.LoadDir(dir)
			if (err == nil) != (len(s.Groups()) > 0) {
				t.Fatalf("error %v with groups %v", err, s.Groups())
			}
			again := New(Options{GroupBy: g})
			if err2 := again.LoadDir(dir); (err == nil) != (err2 == nil) || describeSets(s.sets) != describeSets(again.sets) {
				t.Fatalf("the second reading differs: %v, %v", err, err2)
			}
		}
	})
}

// Whatever a client asks for, it ends up with exactly what it asked for, and is told nothing twice.
func FuzzSubscription(f *testing.F) {
	f.Add([]byte{1, 2, 3}, []byte{1}, []byte{0, 2, 3})
	f.Add([]byte{0}, []byte{0, 1, 2}, []byte{2})
	names := []string{"*", "a", "b", "c", "d"}
	f.Fuzz(func(t *testing.T, subscribe, unsubscribe, serve []byte) {
		v := newFleet(func(*corev3.Node) string { return everyone })
		answers := make(chan cache.DeltaResponse, 20)
		has := map[string]string{}
		first := pick(names, subscribe)
		sub := subscription.NewDeltaSubscription(first, nil, nil, false)
		r := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.ClusterType, ResourceNamesSubscribe: first}
		for round, spec := range append([][]byte{nil}, split(serve)...) {
			var all []message
			for _, name := range pick(names[1:], spec) {
				all = append(all, cluster(name))
			}
			next, err := newSet(all, v.views[everyone].set)
			if err != nil {
				t.Skip() // a name twice
			}
			if round == 2 {
				gone := pick(names, unsubscribe)
				sub.UpdateResourceSubscriptions(nil, gone)
				for _, name := range gone {
					if !sub.IsWildcard() {
						delete(has, name) // a client forgets by itself what it no longer asks for
					}
				}
				r = &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.ClusterType, ResourceNamesUnsubscribe: gone}
			}
			v.commit(map[string]*set{everyone: next})
			// As the library does: the answers that are there first, then the next request.
			for {
				cancel, err := v.CreateDeltaWatch(r, &sub, answers)
				if err != nil {
					t.Fatal(err)
				}
				r = &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.ClusterType, ResponseNonce: "1"}
				if len(answers) == 0 {
					cancel()
					break
				}
				a := <-answers
				got, _ := a.GetDeltaDiscoveryResponse()
				for _, x := range got.GetResources() {
					if has[x.GetName()] == x.GetVersion() && round != 2 {
						t.Fatalf("%s is sent twice", x.GetName())
					}
					has[x.GetName()] = x.GetVersion()
				}
				for _, name := range got.GetRemovedResources() {
					delete(has, name)
				}
				sub.SetReturnedResources(a.GetReturnedResources())
			}
			wanted, _ := next.tables[resource.ClusterType].wanted(&sub)
			for name, i := range wanted {
				if has[name] != i.version {
					t.Fatalf("round %d: the client has %v and lacks %s", round, has, name)
				}
			}
			for name := range has {
				if wanted[name] == nil && next.tables[resource.ClusterType].items[name] == nil {
					t.Fatalf("round %d: the client still has %s", round, name)
				}
			}
		}
	})
}

// pick takes names by their numbers.
func pick(names []string, numbers []byte) (out []string) {
	for _, n := range numbers {
		if int(n) < len(names) {
			out = append(out, names[n])
		}
	}
	return out
}

// split cuts at zeros.
func split(b []byte) (out [][]byte) {
	for len(b) > 0 && len(out) < 8 {
		n := slices.Index(b, 0)
		if n < 0 {
			return append(out, b)
		}
		out, b = append(out, b[:n]), b[n+1:]
	}
	return out
}

// tryFill makes a file; names from a fuzzer need not be possible.
func tryFill(path, content string) bool {
	return os.MkdirAll(filepath.Dir(path), 0o700) == nil && os.WriteFile(path, []byte(content), 0o600) == nil
}
