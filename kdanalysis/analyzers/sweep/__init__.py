"""Every k and temperature."""
