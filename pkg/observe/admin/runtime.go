package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// runtimeEntry is what /runtime says of a key. The fields are in the order in which they are printed.
type runtimeEntry struct {
	FinalValue  string   `json:"final_value"`
	LayerValues []string `json:"layer_values"`
}

// runtime answers /runtime.
func (s *Server) runtime(p *reply, _ *request) error {
	var layers []RuntimeLayer
	if s.opt.Runtime != nil {
		layers = s.opt.Runtime.Layers()
	}
	dump := struct {
		Layers  []string                 `json:"layers"`
		Entries map[string]*runtimeEntry `json:"entries"`
	}{[]string{}, map[string]*runtimeEntry{}}
	for i, layer := range layers {
		dump.Layers = append(dump.Layers, layer.Name)
		for key, value := range layer.Values {
			e := dump.Entries[key]
			if e == nil {
				e = &runtimeEntry{LayerValues: make([]string, len(layers))}
				dump.Entries[key] = e
			}
			e.LayerValues[i] = value
			if value != "" {
				e.FinalValue = value
			}
		}
	}
	out, err := json.MarshalIndent(dump, "", " ")
	if err != nil {
		return fmt.Errorf("print runtime: %w", err)
	}
	p.json(append(out, '\n'))
	return nil
}

// runtimeModify answers /runtime_modify. The parameters are the keys.
func (s *Server) runtimeModify(p *reply, r *request) error {
	values := r.query
	if len(values) == 0 {
		p.text(http.StatusBadRequest, "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n"+
			"       or send the parameters as form values\n"+
			"use an empty value to remove a previously added override")
		return nil
	}
	if s.opt.Runtime == nil {
		p.text(http.StatusServiceUnavailable, "No admin layer specified")
		return nil
	}
	if err := s.opt.Runtime.Modify(values); err != nil {
		p.text(http.StatusServiceUnavailable, err.Error())
		return nil
	}
	p.ok()
	return nil
}
