package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
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
