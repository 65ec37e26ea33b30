package xds

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// TestAttemptsTellWhoAsks has a source that is polled tell for which of its subscriptions, by the names these have.
func TestAttemptsTellWhoAsks(t *testing.T) {
	const other = "xdstp://one/envoy.config.cluster.v3.Cluster/x?b=1&a=2" // its canonical form has a before b
	path := filepath.Join(t.TempDir(), "cds.yaml")
	replace(t, path, twoClusters)
	h := newRecorder()
	s := startSources(t, SourcesOptions{Handler: h})
	src := &model.Source{Kind: model.SourcePath, Path: path}
	for _, ask := range []struct {
		do   func()
		want Asked
	}{
		{func() { s.Subscribe(src, ClusterType, "a") }, Asked{Type: ClusterType, Source: src.ID(), Names: []string{"a"}}},
		{func() { s.Subscribe(src, ClusterType, other) }, Asked{Type: ClusterType, Source: src.ID(), Names: []string{"a", other}}},
		{func() { s.SubscribeAll(src, ClusterType) }, Asked{Type: ClusterType, Source: src.ID(), All: true, Names: []string{"a", other}}},
	} {
		ask.do()
		h.next(t)
		h.mu.Lock()
		got := h.asked
		h.mu.Unlock()
		slices.Sort(got.Names)
		if diff := cmp.Diff(ask.want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

// TestStreamsTellFailuresAlone has no attempts: what they come to is counted by who is told.
func TestStreamsTellFailuresAlone(t *testing.T) {
	r := newRig(t, nil)
	r.mux.Subscribe(EndpointType, "a")
	r.run(t)
	s := r.stream(t)
	receive(t, s.sotw)
	s.answer(EndpointType, "1", "n", "a")
	receive(t, s.sotw)
	s.fail(status.Error(codes.Unavailable, "going away"))
	if err := receive(t, r.rec.failure); err == nil || errors.Is(err, ErrUnreadable) {
		t.Errorf("failure %v", err)
	}
	r.rec.mu.Lock()
	defer r.rec.mu.Unlock()
	if r.rec.attempts[EndpointType] != 0 || r.rec.failures[EndpointType] != 1 {
		t.Errorf("%d attempts, %d failures", r.rec.attempts[EndpointType], r.rec.failures[EndpointType])
	}
}
