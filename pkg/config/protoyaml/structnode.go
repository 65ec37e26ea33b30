package protoyaml

import (
	"sort"
	"strconv"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// structNode turns a Struct into the nodes that JSON of the same content would
// give, so that one decoder serves both. The nodes have no position.
func structNode(s *structpb.Struct) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	keys := make([]string, 0, len(s.GetFields()))
	for k := range s.GetFields() {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		n.Content = append(n.Content, stringNode(k), valueNode(s.GetFields()[k]))
	}
	return n
}

func stringNode(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: s}
}

func valueNode(v *structpb.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
	switch k := v.GetKind().(type) {
	case *structpb.Value_StructValue:
		return structNode(k.StructValue)
	case *structpb.Value_StringValue:
		return stringNode(k.StringValue)
	case *structpb.Value_ListValue:
		n = &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for _, item := range k.ListValue.GetValues() {
			n.Content = append(n.Content, valueNode(item))
		}
	case *structpb.Value_BoolValue:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(k.BoolValue)
	case *structpb.Value_NumberValue:
		if word := nonFinite(k.NumberValue); word != "" {
			return stringNode(word)
		}
		n.Tag, n.Value = "!!float", strconv.FormatFloat(k.NumberValue, 'g', -1, 64)
	}
	return n
}

func countNodes(n *yaml.Node) int {
	count := 1
	for _, c := range n.Content {
		count += countNodes(c)
	}
	return count
}
