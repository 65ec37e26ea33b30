package view

import (
	"iter"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/check"
	"github.com/weir-proxy/weir/pkg/config/store"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/observe/admin"
)

// Findings shows what of the configuration has no effect.
type Findings struct {
	// Static are those of the bootstrap.
	Static []admin.Finding
	// Dump gives the state of the store, whose resources have findings of their own.
	Dump func() *store.Dump
}

var _ admin.Findings = Findings{}

// Findings implements admin.Findings: those of the bootstrap, then those of dynamic resources by type and name.
func (v Findings) Findings() iter.Seq[admin.Finding] {
	return func(yield func(admin.Finding) bool) {
		for _, f := range v.Static {
			if !yield(f) {
				return
			}
		}
		d := v.Dump()
		_ = slotFindings("listener", d.Listeners, yield) && slotFindings("route configuration", d.Routes, yield) &&
			slotFindings("cluster", d.Clusters, yield) && slotFindings("endpoints", d.Endpoints, yield) &&
			slotFindings("secret", d.Secrets, yield) && slotFindings("filter", d.Filters, yield) && slotFindings("scoped route configuration", d.AllScopes(), yield)
	}
}

// slotFindings visits the findings of a type; false ends the visit.
func slotFindings[M any](kind string, slots []store.Slot[M], yield func(admin.Finding) bool) bool {
	for i := range slots {
		e := slots[i].Warming // the newest that was accepted
		if e == nil {
			e = slots[i].Active
		}
		if e == nil {
			continue
		}
		for _, w := range e.Warnings {
			f := Finding(w)
			f.Type, f.Name = kind, slots[i].Name
			if !yield(f) {
				return false
			}
		}
	}
	return true
}

// Finding is a warning as the administration interface shows it.
func Finding(w translate.Warning) admin.Finding {
	kind, name, _ := strings.Cut(w.Resource, " ")
	return admin.Finding{Type: kind, Name: strings.Trim(name, `"`), Field: w.Path, Code: string(w.Code), Message: w.Reason, Suggestion: w.Suggestion}
}

// StaticFindings are those of the bootstrap as the administration interface shows them.
func StaticFindings(all check.Findings) []admin.Finding {
	var out []admin.Finding
	for _, f := range all {
		out = append(out, admin.Finding{
			Type: f.Type, Name: f.Name, Field: f.Field, Code: f.Code, Message: f.Message, Suggestion: f.Suggestion,
			File: f.File, Line: f.Line, Column: f.Column,
		})
	}
	return out
}
