package admin

import (
	"bytes"
	_ "embed"
	"html/template"
	"slices"
	"strings"
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

// row is an endpoint on the index page.
type row struct {
	Path, Help, ID string
	Post           bool
	Params         []field
}

// field is a parameter on the index page.
type field struct {
	Name, Help, ID string
	Flag           bool
	Choices        []string
}

// indexPage makes the page at "/": a table of all endpoints, each with a form for its parameters.
func indexPage(all []endpoint) ([]byte, error) {
	var rows []row
	for _, e := range sorted(all) {
		r := row{Path: e.path, Help: e.help, Post: e.mutates || e.post, ID: "form" + strings.ReplaceAll(e.path, "/", "-")}
		for _, p := range e.params {
			r.Params = append(r.Params, field{Name: p.name, Help: p.help, ID: r.ID + "-" + p.name, Flag: p.kind == flagParam, Choices: p.choices})
		}
		rows = append(rows, r)
	}
	t, err := template.New("index").Parse(indexTemplate)
	if err != nil {
		return nil, err
	}
	var page bytes.Buffer
	err = t.Execute(&page, struct {
		Style template.CSS
		Rows  []row
	}{template.CSS(pageStyle), rows})
	return page.Bytes(), err
}

// home answers "/".
func (s *Server) home(p *reply, _ *request) error {
	p.typed(typeHTML)
	p.w.Header().Set("Content-Security-Policy", pagePolicy)
	p.text(p.status, string(s.index))
	return nil
}

// showHelp answers /help.
func (s *Server) showHelp(p *reply, _ *request) error {
	p.text(p.status, s.help)
	return nil
}
