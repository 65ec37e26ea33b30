package admin

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"
)

// pageStyle is the style sheet of all pages.
//
//go:embed page.css
var pageStyle string

//go:embed index.html
var indexTemplate string

// pagePolicy keeps pages from loading or sending anything elsewhere.
const pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// sorted gives the endpoints in order of their paths.
func sorted(all []endpoint) []endpoint {
	out := slices.Clone(all)
	slices.SortFunc(out, func(a, b endpoint) int { return strings.Compare(a.path, b.path) })
	return out
}

// group is a part of the index page.
type group struct {
	Name, ID string
	Rows     []row
}

// row is an endpoint on the index page.
type row struct {
	Path, Help, ID string
	Post           bool
	// Few parameters are shown at once, many only when asked for.
	Few    bool
	Params []field
}

// field is a parameter on the index page.
type field struct {
	Name, Help, ID string
	Flag           bool
	Choices        []string
}

// index is the page at "/": all endpoints in groups, each with a form for its parameters.
type index struct {
	page   *template.Template
	groups []group
}

func newIndex(all []endpoint) (*index, error) {
	page, err := template.New("index").Parse(indexTemplate)
	if err != nil {
		return nil, err
	}
	x := &index{page: page}
	for _, name := range groupNames() {
		g := group{Name: name, ID: strings.ToLower(name)}
		for _, e := range sorted(all) {
			if e.group() == name {
				g.Rows = append(g.Rows, rowOf(e))
			}
		}
		x.groups = append(x.groups, g)
	}
	return x, nil
}

func rowOf(e endpoint) row {
	r := row{
		Path: e.path, Help: e.help, Post: e.mutates || e.post, Few: len(e.params) <= 3,
		ID: "form" + strings.NewReplacer("/", "-", ":", "-").Replace(e.path),
	}
	for _, p := range e.params {
		r.Params = append(r.Params, field{Name: p.name, Help: p.help, ID: r.ID + "-" + p.name, Flag: p.kind == flagParam, Choices: p.choices})
	}
	return r
}

// groupNames are the groups in their order.
func groupNames() []string {
	return []string{"Status", "Configuration", "Statistics", "Profiling", "Commands"}
}

// group is the part of the index page that an endpoint is in.
func (e endpoint) group() string {
	switch e.path {
	case "/config_dump", "/certs", "/listeners", "/clusters", "/runtime", "/init_dump", clientStatusPath, "/weir/explain", "/weir/findings":
		return "Configuration"
	case "/cpuprofiler", "/heapprofiler", "/allocprofiler", "/heap_dump", "/contention", "/memory":
		return "Profiling"
	}
	switch {
	case strings.HasPrefix(e.path, "/stats"), e.path == "/reset_counters":
		return "Statistics"
	case e.mutates:
		return "Commands"
	}
	return "Status"
}

// home answers "/".
func (s *Server) home(p *reply, _ *request) error {
	var page bytes.Buffer
	err := s.index.page.Execute(&page, struct {
		Style                                 template.CSS
		Groups                                []group
		State, Node, Cluster, Uptime, Version string
	}{
		template.CSS(pageStyle), s.index.groups, s.opt.Server.State(), s.opt.Server.Node().GetId(), s.opt.Server.Node().GetCluster(),
		s.opt.Server.Uptime().Truncate(time.Second).String(), s.opt.Server.Version(),
	})
	if err != nil {
		return fmt.Errorf("make index page: %w", err)
	}
	p.typed(typeHTML)
	p.w.Header().Set("Content-Security-Policy", pagePolicy)
	p.text(p.status, page.String())
	return nil
}

// showHelp answers /help.
func (s *Server) showHelp(p *reply, _ *request) error {
	p.text(p.status, s.help)
	return nil
}
