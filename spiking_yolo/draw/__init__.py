"""Pictures: boxes, figures and pages."""
