package view

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/store"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/observe/admin"
)

func TestFindings(t *testing.T) {
	warned := func(path string) *store.Entry[*model.Cluster] {
		return &store.Entry[*model.Cluster]{Warnings: []translate.Warning{{Resource: `cluster "x"`, Path: path, Reason: "no effect", Code: translate.CodeUnsupported}}}
	}
	v := Findings{
		Static: []admin.Finding{Finding(translate.Warning{Resource: `listener "in gress"`, Path: "a.b", Reason: "r", Suggestion: "s"})},
		Dump: func() *store.Dump {
			return &store.Dump{Clusters: []store.Slot[*model.Cluster]{
				{Name: "one", Active: warned("old"), Warming: warned("new")}, {Name: "two", Active: warned("x")}, {Name: "none"},
			}}
		},
	}
	want := []admin.Finding{
		{Type: "listener", Name: "in gress", Field: "a.b", Message: "r", Suggestion: "s"},
		{Type: "cluster", Name: "one", Field: "new", Code: "unsupported", Message: "no effect"},
		{Type: "cluster", Name: "two", Field: "x", Code: "unsupported", Message: "no effect"},
	}
	if diff := cmp.Diff(want, slices.Collect(v.Findings())); diff != "" {
		t.Error(diff)
	}
	for range v.Findings() {
		break // a visit may end early
	}
}
