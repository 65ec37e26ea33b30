package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// explain answers /weir/explain.
func (s *Server) explain(p *reply, r *request) error {
	if s.opt.Explainer == nil {
		p.text(http.StatusNotFound, "this process explains no connections\n")
		return nil
	}
	params, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		p.text(http.StatusBadRequest, "read parameters: "+err.Error()+"\n")
		return nil
	}
	s.dropUnfilled(r.URL.Path, params)
	format := params.Get("format")
	if params.Del("format"); format != "" && format != "text" && format != "json" {
		p.text(http.StatusBadRequest, fmt.Sprintf("format: %q is neither text nor json\n", format))
		return nil
	}
	answer, err := s.opt.Explainer.Explain(params)
	if err != nil {
		p.text(http.StatusBadRequest, err.Error()+"\n")
		return nil
	}
	if format != "json" {
		p.text(http.StatusOK, answer.Text())
		return nil
	}
	out, err := json.MarshalIndent(answer, "", " ")
	if err != nil {
		return fmt.Errorf("print explanation: %w", err)
	}
	p.json(append(out, '\n'))
	return nil
}

// dropUnfilled takes away text parameters without a value: the form of the index page sends those that nobody filled in.
func (s *Server) dropUnfilled(path string, params url.Values) {
	for _, p := range s.endpoints[path].params {
		if p.kind == textParam && strings.Join(params[p.name], "") == "" {
			params.Del(p.name)
		}
	}
}
