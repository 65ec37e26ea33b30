package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"

	"go.yaml.in/yaml/v3"
)

// interception answers /weir/interception, as JSON or, with format=text, in the layout of YAML, which reads well.
func (s *Server) interception(p *reply, r *request) error {
	var status any
	if s.opt.Interception != nil {
		status = s.opt.Interception.InterceptionStatus()
	}
	if v := reflect.ValueOf(status); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		status = struct {
			Active bool `json:"active"`
		}{}
	}
	out, err := json.MarshalIndent(status, "", " ")
	if err != nil {
		return fmt.Errorf("print interception status: %w", err)
	}
	if r.query["format"] != "text" {
		p.json(append(out, '\n'))
		return nil
	}
	text, err := plain(out)
	if err != nil {
		return err
	}
	p.text(http.StatusOK, string(text))
	return nil
}

// plain turns JSON into block YAML and keeps the order of the fields.
func plain(src []byte) ([]byte, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(src, &root); err != nil {
		return nil, fmt.Errorf("lay out interception status: %w", err)
	}
	blocks(&root)
	out, err := yaml.Marshal(&root)
	if err != nil {
		return nil, fmt.Errorf("lay out interception status: %w", err)
	}
	return out, nil
}

// blocks takes braces and quotes away where YAML needs none.
func blocks(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		blocks(child)
	}
}
