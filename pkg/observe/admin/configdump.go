package admin

import (
	"fmt"
	"net/http"
	"regexp"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// refusal is an answer that is not what was asked for.
type refusal struct {
	status int
	text   string
}

// configDump answers /config_dump.
func (s *Server) configDump(p *reply, r *request) error {
	filter := ConfigFilter{Name: func(string) bool { return true }, EDS: r.query.has("include_eds")}
	if pattern := r.query["name_regex"]; pattern != "" {
		match, err := regexp.Compile("^(?:" + pattern + ")$")
		if err != nil {
			p.text(http.StatusBadRequest, fmt.Sprintf("Error while parsing name_regex from %s: %v", pattern, err))
			return nil
		}
		filter.Name = match.MatchString
	}
	var parts []proto.Message
	if s.opt.ConfigDump != nil {
		parts = s.opt.ConfigDump.ConfigDump(filter)
	}
	// Redaction comes first, so that no mask can decide what is seen.
	for i := range parts {
		parts[i] = redacted(parts[i])
	}
	var no *refusal
	resource, mask := r.query["resource"], r.query["mask"]
	switch {
	case resource != "":
		parts, no = resourcesOf(parts, resource, mask)
	case mask != "":
		parts, no = maskAll(parts, mask)
	}
	if no != nil {
		p.text(no.status, no.text)
		return nil
	}
	out, err := marshalDump(parts)
	if err != nil {
		return err
	}
	p.json(append(out, '\n'))
	return nil
}

// resourcesOf lists the elements of the repeated field that has the name, of the first part that has one.
func resourcesOf(parts []proto.Message, name, mask string) ([]proto.Message, *refusal) {
	for _, part := range parts {
		m := part.ProtoReflect()
		field := m.Descriptor().Fields().ByName(protoreflect.Name(name))
		if field == nil {
			continue
		}
		if !field.IsList() || field.Message() == nil {
			return nil, &refusal{http.StatusBadRequest, fmt.Sprintf("%s is not a repeated field. Use ?mask=%s to get only this field", name, name)}
		}
		list := m.Get(field).List()
		out := make([]proto.Message, 0, list.Len())
		for i := range list.Len() {
			element := list.Get(i).Message()
			if mask != "" && !maskResource(element, mask) {
				return nil, &refusal{http.StatusBadRequest, fmt.Sprintf("FieldMask %s could not be successfully used.", mask)}
			}
			out = append(out, element.Interface())
		}
		return out, nil
	}
	return nil, &refusal{http.StatusNotFound, name + " not found in config dump"}
}

// maskAll applies a mask to every part and leaves out those that it does not fit.
func maskAll(parts []proto.Message, mask string) ([]proto.Message, *refusal) {
	paths := splitMask(mask)
	var out []proto.Message
	for _, part := range parts {
		if trim(part.ProtoReflect(), paths) {
			out = append(out, part)
		}
	}
	if len(out) == 0 {
		return nil, &refusal{http.StatusBadRequest, fmt.Sprintf("FieldMask %s could not be successfully applied to any configs.", mask)}
	}
	return out, nil
}

// marshalDump prints the parts as an admin.v3.ConfigDump. A rejected resource may hold what cannot be printed, such as a
// duration out of range; then, and only then, each message is tried on its own, and those that cannot be printed are left out.
func marshalDump(parts []proto.Message) ([]byte, error) {
	dump := &adminv3.ConfigDump{}
	for _, part := range parts {
		packed, err := anypb.New(part)
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", part.ProtoReflect().Descriptor().FullName(), err)
		}
		dump.Configs = append(dump.Configs, packed)
	}
	out, err := protoyaml.Marshal(dump, " ")
	if err == nil {
		return out, nil
	}
	visitAnys(dump.ProtoReflect(), func(packed *anypb.Any) {
		if _, err := protoyaml.Marshal(packed, ""); err != nil {
			packed.Value = nil
		}
	})
	if out, err = protoyaml.Marshal(dump, " "); err != nil {
		return nil, fmt.Errorf("print configuration: %w", err)
	}
	return out, nil
}

// initDump answers /init_dump.
func (s *Server) initDump(p *reply, r *request) error {
	all := &adminv3.UnreadyTargetsDumps{}
	if s.opt.InitDump != nil {
		all = s.opt.InitDump.InitDump()
	}
	switch mask := r.query["mask"]; mask {
	case "":
	case "listener":
		all = onlyListeners(all)
	default:
		p.text(http.StatusNotFound, mask+" not found in init dump")
		return nil
	}
	return p.message(all, false)
}
