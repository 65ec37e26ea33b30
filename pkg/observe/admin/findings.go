package admin

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/http"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// Findings tells what of the configuration has no effect, or not the one that it has in Envoy.
type Findings interface {
	Findings() iter.Seq[Finding]
}

// Finding is configuration that was accepted and is worth knowing about. Fields that are not known are empty.
type Finding struct {
	// Type and Name are those of the resource, such as listener and ingress; empty for the bootstrap itself.
	Type string `json:"resource_type,omitempty"`
	Name string `json:"resource_name,omitempty"`
	// Field is the path from the resource in proto names.
	Field string `json:"field,omitempty"`
	// Code is the kind of finding, for programs.
	Code    string `json:"code,omitempty"`
	Message string `json:"message"`
	// Suggestion says what may have been meant.
	Suggestion string `json:"suggestion,omitempty"`
	// File, Line and Column are the place, for what came from a file; they count from 1.
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// String is the finding in one line.
func (f Finding) String() string {
	out := f.Message
	if f.Suggestion != "" {
		out += " (" + f.Suggestion + ")"
	}
	if f.Field != "" {
		out = f.Field + ": " + out
	}
	if f.Name != "" {
		out = f.Type + " " + f.Name + ": " + out
	}
	switch {
	case f.File != "" && f.Line > 0:
		out = fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Column, out)
	case f.File != "":
		out = f.File + ": " + out
	}
	return out
}

const (
	// findingsResource is what /config_dump?resource= calls the findings.
	findingsResource = "weir_findings"
	// dumpedFindings bounds how many of them a whole /config_dump shows.
	dumpedFindings = 1000
)

// findings answers /weir/findings.
func (s *Server) findings(p *reply, r *request) error {
	all := s.allFindings(func(string) bool { return true })
	switch r.query["format"] {
	case "", "json":
		return p.stream(func(j *jsonStream) {
			j.list("findings", func(yield func(proto.Message) bool) {
				for m := range all {
					if !yield(m) {
						return
					}
				}
			})
		})
	case "text":
		p.start()
		for f := range s.eachFinding() {
			if _, err := p.Write([]byte(f.String() + "\n")); err != nil {
				return nil // the client has gone
			}
		}
		return nil
	}
	p.text(http.StatusBadRequest, "usage: /weir/findings?format=(json|text)\n\n")
	return nil
}

func (s *Server) eachFinding() iter.Seq[Finding] {
	if s.opt.Findings == nil {
		return func(func(Finding) bool) {}
	}
	return s.opt.Findings.Findings()
}

// allFindings gives the findings about resources whose names are chosen. They are protobuf's own structs, which every client that
// reads /config_dump can decode: one that is strict refuses a message of a type that it does not know.
func (s *Server) allFindings(name func(string) bool) iter.Seq[*structpb.Struct] {
	return func(yield func(*structpb.Struct) bool) {
		for f := range s.eachFinding() {
			if !name(f.Name) {
				continue
			}
			if m := f.asStruct(); m != nil && !yield(m) {
				return
			}
		}
	}
}

// asStruct is nil for what has no JSON form, which text that came from JSON or YAML always has.
func (f Finding) asStruct() *structpb.Struct {
	raw, err := json.Marshal(f)
	if err != nil {
		return nil
	}
	m := &structpb.Struct{}
	if m.UnmarshalJSON(raw) != nil {
		return nil
	}
	return m
}

// findingsSection is the last section of /config_dump; ok is false when there is nothing to tell.
func (s *Server) findingsSection(name func(string) bool) (section Section, ok bool) {
	list := &structpb.ListValue{}
	left := 0
	for m := range s.allFindings(name) {
		if len(list.Values) == dumpedFindings {
			left++
			continue
		}
		list.Values = append(list.Values, structpb.NewStructValue(m))
	}
	if len(list.Values) == 0 {
		return Section{}, false
	}
	m := &structpb.Struct{Fields: map[string]*structpb.Value{findingsResource: structpb.NewListValue(list)}}
	if left > 0 {
		m.Fields["left_off"] = structpb.NewNumberValue(float64(left))
	}
	return Section{Message: m}, true
}

// packedFindings are the elements of /config_dump?resource=weir_findings.
func (s *Server) packedFindings(name func(string) bool) iter.Seq[proto.Message] {
	return func(yield func(proto.Message) bool) {
		for m := range s.allFindings(name) {
			packed, err := anypb.New(m)
			if err != nil {
				continue
			}
			if !yield(packed) {
				return
			}
		}
	}
}
