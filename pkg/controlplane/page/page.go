// Package page shows the state of a control plane to people in a browser, to programs as JSON and to Prometheus.
//
// It reads from an interface of its own and must not know how resources are served. It has no state but what it is made
// with, and is safe for concurrent use.
package page

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/weir-proxy/weir/pkg/controlplane"
)

// Source is what there is to show.
type Source interface {
	Clients() []controlplane.ClientStatus
	Groups() map[string][]controlplane.TypeSummary
	Resources(group string) ([]controlplane.ResourceStatus, bool)
	LoadState() controlplane.LoadState
}

var _ Source = (*controlplane.Server)(nil)

// Options say what the source does not.
type Options struct {
	// Version is that of the program; Listen the addresses at which it serves.
	Version, Listen string
	// GroupBy is what of a node names its group; "" when there are no groups.
	GroupBy string
	Started time.Time
}

//go:embed page.html
var html string

// shownNames bounds the names of a type on the page; the JSON has all.
const shownNames = 200

// Handler answers / with a page, /status.json, /resources.json?group=NAME, /metrics and /ready.
func Handler(src Source, opt Options) (http.Handler, error) {
	t, err := template.New("page").Funcs(template.FuncMap{"ago": ago, "clock": clock, "lines": lines}).Parse(html)
	if err != nil {
		return nil, fmt.Errorf("parse the status page: %w", err)
	}
	h := &handler{src: src, opt: opt, page: t}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", h.html)
	mux.HandleFunc("GET /status.json", h.json)
	mux.HandleFunc("GET /resources.json", h.resources)
	mux.HandleFunc("GET /metrics", h.metrics)
	mux.HandleFunc("GET /ready", h.ready)
	return mux, nil
}

type handler struct {
	src  Source
	opt  Options
	page *template.Template
}

// state is all that is shown.
type state struct {
	Version   string    `json:"version"`
	Listen    string    `json:"listen"`
	GroupBy   string    `json:"group_by,omitempty"`
	Started   time.Time `json:"started"`
	Now       time.Time `json:"now"`
	Connected int       `json:"connected"`
	Rejecting int       `json:"rejecting"`
	Total     int       `json:"resources"`

	Load    load                        `json:"load"`
	Groups  []group                     `json:"groups"`
	Clients []controlplane.ClientStatus `json:"clients"`
}

type load struct {
	Dir      string    `json:"dir"`
	Loaded   time.Time `json:"loaded,omitzero"`
	Checked  time.Time `json:"checked,omitzero"`
	Files    int       `json:"files"`
	Errors   []string  `json:"errors"`
	Groups   []string  `json:"groups_with_errors,omitempty"`
	Warnings []string  `json:"warnings,omitempty"`
}

type group struct {
	// Name of the group; "" is everyone else.
	Name    string    `json:"name"`
	Clients int       `json:"clients"`
	Types   []summary `json:"types"`
}

type summary struct {
	Type    string `json:"type"`
	Version string `json:"version"`
	Count   int    `json:"count"`
	// Shown are the first names, for the page alone.
	Shown []string `json:"-"`
}

func (h *handler) state() state {
	l := h.src.LoadState()
	s := state{
		Version: h.opt.Version, Listen: h.opt.Listen, GroupBy: h.opt.GroupBy, Started: h.opt.Started, Now: time.Now(),
		Load:    load{Dir: l.Dir, Loaded: l.Loaded, Checked: l.Checked, Files: l.Files, Errors: l.Errors, Groups: l.Groups, Warnings: l.Warnings},
		Clients: h.src.Clients(),
	}
	if s.Load.Errors == nil {
		s.Load.Errors = []string{}
	}
	groups := h.src.Groups()
	members := map[string]int{}
	for _, c := range s.Clients {
		if !c.Gone.IsZero() {
			continue
		}
		s.Connected++
		if rejects(c) {
			s.Rejecting++
		}
		if _, own := groups[c.Group]; own {
			members[c.Group]++
		} else {
			members[""]++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		g := group{Name: name, Clients: members[name]}
		for _, t := range groups[name] {
			s.Total += len(t.Names)
			g.Types = append(g.Types, summary{t.Type, t.Version, len(t.Names), t.Names[:min(len(t.Names), shownNames)]})
		}
		s.Groups = append(s.Groups, g)
	}
	return s
}

// rejects tells a client that did not take something that it was sent last.
func rejects(c controlplane.ClientStatus) bool {
	for _, s := range c.Streams {
		for _, t := range s.Types {
			if s.Ended.IsZero() && t.Error != "" {
				return true
			}
		}
	}
	return false
}

func (h *handler) html(w http.ResponseWriter, _ *http.Request) {
	var b bytes.Buffer
	if err := h.page.Execute(&b, h.state()); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(b.Bytes()) // the reader went away
}

func (h *handler) json(w http.ResponseWriter, _ *http.Request) { writeJSON(w, h.state()) }

func (h *handler) resources(w http.ResponseWriter, r *http.Request) {
	list, ok := h.src.Resources(r.URL.Query().Get("group"))
	if !ok {
		http.Error(w, "there is no such group", http.StatusNotFound)
		return
	}
	writeJSON(w, map[string]any{"resources": list})
}

func writeJSON(w http.ResponseWriter, v any) {
	body, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(body, '\n')) // the reader went away
}

func (h *handler) ready(w http.ResponseWriter, _ *http.Request) {
	if len(h.src.Groups()) == 0 {
		http.Error(w, "there are no resources yet", http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("LIVE\n")) // the reader went away
}

// metrics answers in Prometheus' text format.
func (h *handler) metrics(w http.ResponseWriter, _ *http.Request) {
	s := h.state()
	var b strings.Builder
	metric := func(name, help, kind string) { fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %[1]s %[3]s\n", name, help, kind) }
	metric("weir_xds_clients", "Clients that are connected, by group.", "gauge")
	for _, g := range s.Groups {
		fmt.Fprintf(&b, "weir_xds_clients{group=%q} %d\n", g.Name, g.Clients)
	}
	metric("weir_xds_clients_rejecting", "Clients that rejected what they were sent last of some type.", "gauge")
	fmt.Fprintf(&b, "weir_xds_clients_rejecting %d\n", s.Rejecting)
	metric("weir_xds_resources", "Resources that are served.", "gauge")
	for _, g := range s.Groups {
		for _, t := range g.Types {
			fmt.Fprintf(&b, "weir_xds_resources{group=%q,type=%q} %d\n", g.Name, t.Type, t.Count)
		}
	}
	metric("weir_xds_load_errors", "Errors of the last reading of the directory; above 0 the last good resources are served.", "gauge")
	fmt.Fprintf(&b, "weir_xds_load_errors %d\n", len(s.Load.Errors))
	metric("weir_xds_loaded_timestamp_seconds", "When what is served was read.", "gauge")
	fmt.Fprintf(&b, "weir_xds_loaded_timestamp_seconds %d\n", s.Load.Loaded.Unix())
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write([]byte(b.String())) // the reader went away
}

// ago is the time since t as people say it.
func ago(t time.Time) string {
	d := time.Since(t)
	switch {
	case t.IsZero():
		return "never"
	case d < 2*time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}

func clock(t time.Time) string { return t.Format(time.DateTime) }

// lines splits a text.
func lines(s string) []string { return strings.Split(strings.TrimSpace(s), "\n") }
