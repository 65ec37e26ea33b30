package tlsctx

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
)

// sslErrors is the library number of BoringSSL's SSL errors, to which the reason's number is added (err.h: 16 << 24).
const sslErrors = 16 << 24

// Reason numbers of BoringSSL (ssl.h). An alert of the peer is 1000 plus the alert's number.
const (
	certificateVerifyFailed = 125
	httpRequest             = 155
	noSharedCipher          = 184
	peerNoCertificate       = 192
	unsupportedProtocol     = 240
	wrongVersionNumber      = 247
	alertBase               = 1000
)

// reasonText is the transport failure reason for an error of a handshake.
func reasonText(err error) string {
	if code, text := classify(err); code != 0 {
		return fmt.Sprintf("TLS_error:|%d:SSL routines:OPENSSL_internal:%s:TLS_error_end", sslErrors+code, text)
	}
	return "TLS_error:|" + err.Error() + ":TLS_error_end"
}

// classify finds what BoringSSL would have said; 0 when it has no such error.
func classify(err error) (code int, text string) {
	if e, ok := errors.AsType[*verifyError](err); ok {
		return certificateVerifyFailed, "CERTIFICATE_VERIFY_FAILED:" + e.Error()
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "remote error" {
		// The alert's type is not exported; its kind is a byte.
		if v := reflect.ValueOf(e.Err); v.Kind() == reflect.Uint8 {
			return alertBase + int(v.Uint()), alertName(uint8(v.Uint()), e.Err)
		}
	}
	if e, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		if looksLikeHTTP(e.RecordHeader) {
			return httpRequest, "HTTP_REQUEST"
		}
		return wrongVersionNumber, "WRONG_VERSION_NUMBER"
	}
	switch text := err.Error(); {
	case isNoClientCertificate(err):
		return peerNoCertificate, "PEER_DID_NOT_RETURN_A_CERTIFICATE"
	case strings.Contains(text, "unsupported versions") || strings.Contains(text, "unsupported protocol version"):
		return unsupportedProtocol, "UNSUPPORTED_PROTOCOL"
	case strings.Contains(text, "no cipher suite supported"):
		return noSharedCipher, "NO_SHARED_CIPHER"
	}
	return 0, ""
}

func looksLikeHTTP(header [5]byte) bool {
	for _, method := range []string{"GET ", "POST ", "HEAD ", "PUT "} {
		if strings.HasPrefix(string(header[:]), method) {
			return true
		}
	}
	return false
}

// alertName is BoringSSL's name of an alert that came from the peer.
func alertName(alert uint8, err error) string {
	switch alert {
	case 40:
		return "SSLV3_ALERT_HANDSHAKE_FAILURE"
	case 42:
		return "SSLV3_ALERT_BAD_CERTIFICATE"
	case 43:
		return "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE"
	case 44:
		return "SSLV3_ALERT_CERTIFICATE_REVOKED"
	case 45:
		return "SSLV3_ALERT_CERTIFICATE_EXPIRED"
	case 46:
		return "SSLV3_ALERT_CERTIFICATE_UNKNOWN"
	case 47:
		return "SSLV3_ALERT_ILLEGAL_PARAMETER"
	case 48:
		return "TLSV1_ALERT_UNKNOWN_CA"
	case 49:
		return "TLSV1_ALERT_ACCESS_DENIED"
	case 50:
		return "TLSV1_ALERT_DECODE_ERROR"
	case 51:
		return "TLSV1_ALERT_DECRYPT_ERROR"
	case 70:
		return "TLSV1_ALERT_PROTOCOL_VERSION"
	case 71:
		return "TLSV1_ALERT_INSUFFICIENT_SECURITY"
	case 80:
		return "TLSV1_ALERT_INTERNAL_ERROR"
	case 112:
		return "TLSV1_ALERT_UNRECOGNIZED_NAME"
	case 116:
		return "TLSV1_ALERT_CERTIFICATE_REQUIRED"
	case 120:
		return "TLSV1_ALERT_NO_APPLICATION_PROTOCOL"
	default:
		return strings.ToUpper(strings.ReplaceAll(err.Error(), " ", "_"))
	}
}
