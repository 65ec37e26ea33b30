package translate

import (
	"errors"
	"fmt"
	"path/filepath"

	interceptionv1 "github.com/weir-proxy/weir/pkg/api/weir/interception/v1"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// decodeNamespaces translates an interceptionv1.Namespaces, which may be nil.
func decodeNamespaces(m *interceptionv1.Namespaces) (model.Namespaces, error) {
	var errs []error
	for n, path := range m.GetPaths() {
		if _, err := filepath.Match(path, ""); err != nil {
			errs = append(errs, fmt.Errorf("namespaces.paths[%d]: %q: %w", n, path, err))
		} else if !filepath.IsAbs(path) {
			errs = append(errs, fmt.Errorf("namespaces.paths[%d]: %q is not an absolute path", n, path))
		}
	}
	return model.Namespaces{
		HostUpstream: m.GetUpstream() == interceptionv1.Namespaces_HOST, Paths: m.GetPaths(), OwnOnly: m.GetOwnOnly(),
	}, errors.Join(errs...)
}
