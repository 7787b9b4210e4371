"""OpenTelemetry, through its API alone: whoever uses it brings the SDK that he likes."""
