/* flash_native.h - which file is the native board's flash. */
#ifndef SCL_FLASH_NATIVE_H
#define SCL_FLASH_NATIVE_H

/* Called once, before app_start. Makes the file if there is none; ends the process with a message
 * if that does not work. */
void port_flash_attach(const char *path);

#endif
