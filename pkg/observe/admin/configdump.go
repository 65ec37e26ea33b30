package admin

import (
	"fmt"
	"iter"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// typePrefix is what packed messages' type URLs begin with.
const typePrefix = "type.googleapis.com/"

// refusal is an answer that is not what was asked for.
type refusal struct {
	status int
	text   string
}

// configDump answers /config_dump. The answer is written resource by resource, so that its size is never held.
func (s *Server) configDump(p *reply, r *request) error {
	filter := ConfigFilter{Name: func(string) bool { return true }, EDS: r.query.has("include_eds")}
	if pattern := r.query["name_regex"]; pattern != "" {
		match, err := regexp.Compile("^(?:" + pattern + ")$")
		if err != nil {
			p.text(http.StatusBadRequest, fmt.Sprintf("INVALID_ARGUMENT: Error while parsing name_regex from %s: %v", pattern, err))
			return nil
		}
		filter.Name = match.MatchString
	}
	var sections []Section
	if s.opt.ConfigDump != nil {
		sections = s.opt.ConfigDump.ConfigDump(filter)
	}
	var no *refusal
	if resource, mask := r.query["resource"], r.query["mask"]; resource == findingsResource {
		return p.stream(func(j *jsonStream) { j.list("configs", s.packedFindings(filter.Name)) })
	} else if resource != "" {
		var list iter.Seq[proto.Message]
		if list, no = resourcesOf(sections, resource, mask); no == nil {
			return p.stream(func(j *jsonStream) { j.list("configs", list) })
		}
	} else if mask != "" {
		sections, no = maskAll(sections, mask)
	} else if last, ok := s.findingsSection(filter.Name); ok {
		sections = append(sections, last)
	}
	if no != nil {
		p.text(no.status, no.text)
		return nil
	}
	return p.stream(func(j *jsonStream) {
		if len(sections) == 0 {
			return
		}
		j.open("configs", "[")
		for _, section := range sections {
			if j.err == nil {
				section.write(j)
			}
		}
		j.end("]")
	})
}

// stream answers with a JSON object whose entries write writes.
func (p *reply) stream(write func(*jsonStream)) error {
	p.typed(typeJSON)
	j := newJSONStream(p)
	j.open("", "{")
	write(j)
	j.end("}")
	return j.finish()
}

// write writes a section as a packed message. Its lists come last, as their field numbers do.
func (s Section) write(j *jsonStream) {
	compact, err := printable(redacted(s.Message))
	if err != nil {
		j.fail(err)
		return
	}
	j.open("", "{")
	j.value("@type", []byte(`"`+typeURL(s.Message)+`"`))
	if wrapped := s.Message.ProtoReflect().Descriptor(); wrapped.ParentFile().Package() == "google.protobuf" {
		j.value("value", compact) // the form of packed messages that have a JSON form of their own
	} else {
		j.fields(compact)
	}
	for _, list := range s.Lists {
		j.list(list.Field, withoutSecrets(list.Elements))
	}
	j.end("}")
}

func typeURL(m proto.Message) string {
	return typePrefix + string(m.ProtoReflect().Descriptor().FullName())
}

func withoutSecrets(all iter.Seq[proto.Message]) iter.Seq[proto.Message] {
	return func(yield func(proto.Message) bool) {
		for m := range all {
			if !yield(redacted(m)) {
				return
			}
		}
	}
}

// resourcesOf gives the elements of the repeated field that has the name, of the first section that has one, each packed.
// Redaction comes before the mask, so that no mask can decide what is seen.
func resourcesOf(sections []Section, name, mask string) (iter.Seq[proto.Message], *refusal) {
	for _, section := range sections {
		field := section.Message.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(name))
		if field == nil {
			continue
		}
		if !field.IsList() || field.Message() == nil {
			return nil, &refusal{http.StatusBadRequest, fmt.Sprintf("%s is not a repeated field. Use ?mask=%s to get only this field", name, name)}
		}
		all := withoutSecrets(section.list(name))
		for first := range all { // all elements are alike, so that the first tells whether the mask fits
			if mask != "" && !maskResource(first.ProtoReflect(), mask) {
				return nil, &refusal{http.StatusBadRequest, "FieldMask " + maskText(mask) + " could not be successfully used."}
			}
			break
		}
		return packed(all, mask), nil
	}
	return nil, &refusal{http.StatusNotFound, name + " not found in config dump"}
}

// list gives the elements of a repeated field.
func (s Section) list(name string) iter.Seq[proto.Message] {
	for _, l := range s.Lists {
		if l.Field == name {
			return l.Elements
		}
	}
	return func(func(proto.Message) bool) {}
}

// packed packs each message after its mask; one that the mask does not fit is left out.
func packed(all iter.Seq[proto.Message], mask string) iter.Seq[proto.Message] {
	return func(yield func(proto.Message) bool) {
		for m := range all {
			if mask != "" && !maskResource(m.ProtoReflect(), mask) {
				continue
			}
			out, err := anypb.New(m)
			if err != nil { // it cannot be encoded, so that only its type can be shown
				out = &anypb.Any{TypeUrl: typeURL(m)}
			}
			if !yield(out) {
				return
			}
		}
	}
}

// maskAll applies a mask to every section and leaves out those that it does not fit.
func maskAll(sections []Section, mask string) ([]Section, *refusal) {
	paths := splitMask(mask)
	var out []Section
	for _, section := range sections {
		message := proto.Clone(section.Message)
		if !trim(message.ProtoReflect(), paths) {
			continue
		}
		kept := Section{Message: message}
		for _, list := range section.Lists {
			if named(paths, list.Field) {
				kept.Lists = append(kept.Lists, list)
			}
		}
		out = append(out, kept)
	}
	if len(out) == 0 {
		return nil, &refusal{http.StatusBadRequest, fmt.Sprintf("FieldMask %s could not be successfully applied to any configs.", mask)}
	}
	return out, nil
}

// named tells whether the paths, if there are any, name a field.
func named(paths [][]protoreflect.Name, field string) bool {
	return len(paths) == 0 || slices.ContainsFunc(paths, func(p []protoreflect.Name) bool { return string(p[0]) == field })
}

// maskText is a mask in protobuf's text format.
func maskText(mask string) string {
	var b strings.Builder
	for path := range strings.SplitSeq(mask, ",") {
		if path != "" {
			fmt.Fprintf(&b, "paths: %q\n", path)
		}
	}
	return b.String()
}
