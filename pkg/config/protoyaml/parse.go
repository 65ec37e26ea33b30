package protoyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parse turns src into one node per document that is not empty. Text that
// begins like JSON is parsed as JSON, and as YAML flow style when it is not
// JSON and the file's name does not insist on it.
func parse(src []byte, file string) (docs []*yaml.Node, isJSON bool, err error) {
	named := strings.EqualFold(filepath.Ext(file), ".json")
	if named || looksLikeJSON(src) {
		root, jsonErr := parseJSON(src)
		if jsonErr == nil {
			return []*yaml.Node{root}, true, nil
		}
		if named {
			jsonErr.File, jsonErr.Code = file, CodeSyntax
			if !looksLikeJSON(src) {
				jsonErr.Suggestion = "a file whose name ends in .json holds JSON; YAML is for .yaml"
			}
			return nil, true, Errors{*jsonErr}
		}
	}
	docs, err = parseYAML(src)
	if err != nil {
		return nil, false, Errors{yamlError(src, file, err)}
	}
	return docs, false, nil
}

// TopLevel returns the keys of the first document of src that is a mapping, and
// whether the first document is a list. It tells what kind of file it is before
// that is decoded. The error is an Errors.
func TopLevel(src []byte, file string) (keys []string, list bool, err error) {
	docs, _, err := parse(src, file)
	if err != nil || len(docs) == 0 {
		return nil, false, err
	}
	root := follow(docs[0])
	if root.Kind != yaml.MappingNode {
		return nil, root.Kind == yaml.SequenceNode, nil
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		keys = append(keys, follow(root.Content[i]).Value)
	}
	return keys, false, nil
}

func looksLikeJSON(src []byte) bool {
	src = bytes.TrimLeft(src, "\ufeff \t\r\n")
	return len(src) > 0 && (src[0] == '{' || src[0] == '[')
}

// parseYAML returns the root node of each document. The YAML library reports
// some malformed inputs by panicking, which is turned into an error here.
func parseYAML(src []byte) (docs []*yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: parser gave up: %v", r)
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(src))
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, err
		}
		if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 {
			continue
		}
		if root := doc.Content[0]; !isNull(root) {
			docs = append(docs, root)
		}
	}
}
