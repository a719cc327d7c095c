"""Pictures: boxes and pages."""
