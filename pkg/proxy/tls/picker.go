package tlsctx

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
)

// picker chooses the certificate of a handshake: by exact name, then by a wildcard for the name's first label, then any,
// and among several the ECDSA ones first, the first that the client can use (Envoy's default certificate selector).
type picker struct {
	all      []*tls.Certificate // ECDSA first
	first    *tls.Certificate   // as configured
	exact    map[string][]*tls.Certificate
	wildcard map[string][]*tls.Certificate // by what follows "*"
}

func newPicker(certs []*tls.Certificate) *picker {
	p := &picker{first: certs[0], exact: map[string][]*tls.Certificate{}, wildcard: map[string][]*tls.Certificate{}}
	p.all = slices.Clone(certs)
	slices.SortStableFunc(p.all, func(a, b *tls.Certificate) int { return keyRank(a) - keyRank(b) })
	for _, c := range p.all {
		for _, name := range certificateNames(c) {
			name = strings.ToLower(name)
			if suffix, ok := strings.CutPrefix(name, "*"); ok && strings.HasPrefix(suffix, ".") {
				p.wildcard[suffix] = append(p.wildcard[suffix], c)
			} else {
				p.exact[name] = append(p.exact[name], c)
			}
		}
	}
	return p
}

func keyRank(c *tls.Certificate) int {
	if _, ok := c.PrivateKey.(*ecdsa.PrivateKey); ok {
		return 0
	}
	return 1
}

// certificateNames are the DNS names of the leaf; its common name when it has none.
func certificateNames(c *tls.Certificate) []string {
	leaf := c.Leaf
	if leaf == nil && len(c.Certificate) > 0 {
		leaf, _ = x509.ParseCertificate(c.Certificate[0]) // nil when it cannot be parsed: served only as the first
	}
	switch {
	case leaf == nil:
		return nil
	case len(leaf.DNSNames) > 0:
		return leaf.DNSNames
	case leaf.Subject.CommonName != "":
		return []string{leaf.Subject.CommonName}
	}
	return nil
}

func (p *picker) pick(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(h.ServerName)
	candidates := p.exact[name]
	if candidates == nil {
		if dot := strings.IndexByte(name, '.'); dot > 0 {
			candidates = p.wildcard[name[dot:]]
		}
	}
	anyName := *h
	anyName.ServerName = "" // the name was looked at above
	for _, c := range candidates {
		if anyName.SupportsCertificate(c) == nil {
			return c, nil
		}
	}
	if len(candidates) > 0 {
		return candidates[0], nil
	}
	if anyName.SupportsCertificate(p.first) == nil {
		return p.first, nil
	}
	for _, c := range p.all {
		if anyName.SupportsCertificate(c) == nil {
			return c, nil
		}
	}
	return p.first, nil
}
